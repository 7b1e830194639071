// Whether an instance may take on what another graph says.
#pragma once

#include <cuda.h>

#include "softgpu/driver/graph.h"

namespace vgpu::softgpu {

// Both in execution order. False with the reason and the node of the new graph in `info`. Requires
// capture_mutex().
bool compare_for_update(const Graph& before, const Graph& after, CUgraphExecUpdateResultInfo& info);

// An instance answers to the nodes of the graph that it was made from, whatever it was updated
// with. The graphs have been compared. Requires capture_mutex().
void keep_origins(const Graph& before, Graph& after);

}  // namespace vgpu::softgpu
