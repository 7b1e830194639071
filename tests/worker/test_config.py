"""The workload configuration: every key, its merge order, and what is refused."""

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.worker.config import Source, WorkloadConfig, load_workload, merge
from vgpu.worker.errors import ConfigError
from vgpu.worker.profile import parse_profile
from vgpu.worker.settings import BY_PROFILE_PATH, SETTINGS

# Key, text, its value, whether a worker enforces it today. Every setting has at least one row.
KEYS: list[tuple[str, object, Any, bool]] = [
    ("enabled", "true", True, True),
    ("enabled", "false", False, False),
    ("tflops-request", "10", Fraction(10), False),
    ("tflops-limit", "500m", Fraction(1, 2), False),
    ("vram-request", "4Gi", 2**32, False),
    ("vram-limit", "4Gi", 2**32, True),
    ("vram-limit", 1073741824, 2**30, True),
    ("compute-percent-request", "0", Fraction(0), False),
    ("compute-percent-limit", "100", Fraction(100), False),
    ("inject-container", "python, sidecar", ("python", "sidecar"), False),
    ("qos", "medium", "medium", True),
    ("qos", "critical", "critical", False),
    ("is-local-gpu", "false", False, True),
    ("is-local-gpu", "True", True, False),
    ("standalone-worker-mode", "true", True, True),
    ("gpu-count", "128", 128, True),
    ("gpu-indices", "1, 0", (0, 1), True),
    ("gpupool", "default-pool", "default-pool", False),
    ("vendor", "nvidia", "NVIDIA", True),
    ("vendor", "AMD", "AMD", False),
    ("gpu-model", "L40s", "L40s", True),
    ("dedicated-gpu", "false", False, True),
    ("isolation", "shared", "shared", True),
    ("isolation", "soft", "soft", True),
    ("isolation", "hard", "hard", False),
    ("isolation", "partitioned", "partitioned", False),
    ("container-gpu-count", '{"a":1,"b":2}', {"a": 1, "b": 2}, False),
    ("container-gpus", '{"a":["gpu-1"]}', {"a": ["gpu-1"]}, False),
    ("workload", "pytorch-example", "pytorch-example", False),
    ("workload-profile", "default-profile", "default-profile", False),
    ("enabled-replicas", "42", 42, False),
    ("autoscale", "false", False, True),
    ("autoscale", "true", True, False),
    ("autoscale-target", "all", "all", True),
    ("autoscale-target", "vram", "vram", False),
    ("disable-features", " gpu-opt, mem-manager,", frozenset({"gpu-opt", "mem-manager"}), True),
    ("disable-features", "gpu-limiter", frozenset({"gpu-limiter"}), True),
    ("replicas", 1, 1, True),
    ("replicas", 3, 3, False),
    ("auto-scaling-config", {}, {}, True),
    ("auto-scaling-config", {"window": "1h"}, {"window": "1h"}, False),
]

BAD: list[tuple[str, object, str]] = [
    ("enabled", "yes", "neither true nor false"),
    ("tflops-request", "fast", "not a Kubernetes quantity"),
    ("tflops-limit", "0", "not a positive number of TFLOPS"),
    ("vram-request", "-1", "not a positive amount"),
    ("vram-limit", "4GB", "not a Kubernetes quantity"),
    ("vram-limit", "0", "not a positive amount"),
    ("compute-percent-request", "-1", "not between 0 and 100"),
    ("compute-percent-limit", "101", "not between 0 and 100"),
    ("inject-container", ",", "not a list of names"),
    ("qos", "urgent", "'low', 'medium', 'high' or 'critical'"),
    ("is-local-gpu", "1", "neither true nor false"),
    ("standalone-worker-mode", "", "neither true nor false"),
    ("gpu-count", "0", "greater than or equal to 1"),
    ("gpu-count", "129", "less than or equal to 128"),
    ("gpu-count", "1.5", "not a whole number"),
    ("gpu-indices", "0,-1", "not a whole number"),
    ("gpu-indices", "0,0", "repeated"),
    ("gpu-indices", "", "selects no device"),
    ("gpupool", " ", "not a name"),
    ("vendor", "Acme", "not one of NVIDIA, AMD"),
    ("gpu-model", "", "not a name"),
    ("dedicated-gpu", "maybe", "neither true nor false"),
    ("isolation", "strong", "'shared', 'soft', 'hard' or 'partitioned'"),
    ("container-gpu-count", "{", "not a JSON object"),
    ("container-gpu-count", '{"a":-1}', "greater than or equal to 0"),
    ("container-gpus", "[]", "not a JSON object with one entry per container"),
    ("workload", "", "not a name"),
    ("workload-profile", "", "not a name"),
    ("enabled-replicas", "-1", "not a whole number"),
    ("autoscale", "on", "neither true nor false"),
    ("autoscale-target", "disk", "'compute', 'vram' or 'all'"),
    ("disable-features", "gpu-opt,turbo", "unknown feature turbo"),
    ("replicas", "many", "not a whole number"),
    ("auto-scaling-config", "x", "not a mapping"),
]


def test_every_setting_has_rows() -> None:
    names = {setting.name for setting in SETTINGS}
    assert {row[0] for row in KEYS} == names
    assert {row[0] for row in BAD} == names
    assert {setting.field for setting in SETTINGS} | {"profile_name"} == set(
        WorkloadConfig.model_fields
    )


@pytest.mark.parametrize(("name", "text", "value", "enforced"), KEYS)
def test_values_and_enforcement(name: str, text: object, value: object, enforced: bool) -> None:
    config = merge([Source("test", {name: text})])
    assert getattr(config, name.replace("-", "_")) == value
    if enforced:
        load_workload({name: text})
    else:
        with pytest.raises(ConfigError, match=rf"not enforced.*\n  {name}: "):
            load_workload({name: text})


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_bad_values_are_named_with_their_source(name: str, text: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^somewhere: {name}.*{message}"):
        merge([Source("somewhere", {name: text})])


def test_defaults() -> None:
    config = load_workload({})
    assert (config.gpu_count, config.isolation, config.qos) == (1, "soft", "medium")
    assert not config.is_local_gpu
    assert config.vram_limit is None


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_workload({}).gpu_count = 2


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="flags: unknown setting vram-limits"):
        merge([Source("flags", {"vram-limits": "1Gi"})])


def test_merge_order(tmp_path: Path) -> None:
    annotations, profile = tmp_path / "annotations", tmp_path / "profile.yaml"
    annotations.write_text('tensor-fusion.ai/vram-limit="2Gi"\ntensor-fusion.ai/gpu-count="2"\n')
    profile.write_text(
        "apiVersion: tensor-fusion.ai/v1\nkind: WorkloadProfile\nmetadata: {name: p}\n"
        "spec: {gpuCount: 3, gpuModel: A100, resources: {limits: {vram: 3Gi}}}\n"
    )
    merged = load_workload({"vram-limit": "1Gi"}, annotations=[annotations], profile=profile)
    assert (merged.vram_limit, merged.gpu_count, merged.gpu_model) == (2**30, 2, "A100")
    without_flag = load_workload({}, annotations=[annotations], profile=profile)
    assert without_flag.vram_limit == 2 * 2**30
    assert load_workload({}, profile=profile).gpu_count == 3


def test_tflops_and_percent_exclude_each_other_after_the_merge() -> None:
    sources = [
        Source("annotations", {"tflops-limit": "10"}),
        Source("profile", {"compute-percent-request": "50"}),
    ]
    with pytest.raises(ConfigError, match="tflops-limit cannot be combined with compute-percent-r"):
        merge(sources)


def test_a_missing_request_takes_the_limit_and_not_the_reverse() -> None:
    limited = merge([Source("t", {"tflops-limit": "20", "vram-limit": "4Gi"})])
    assert (limited.placed_tflops, limited.placed_vram) == (Fraction(20), 2**32)
    requested = merge([Source("t", {"vram-request": "4Gi", "compute-percent-request": "10"})])
    assert requested.vram_limit is None
    assert requested.placed_compute_percent == 10


def test_gpu_count_follows_gpu_indices() -> None:
    assert load_workload({"gpu-indices": "1,0"}).gpu_count == 2
    assert load_workload({"gpu-indices": "3,1,0", "gpu-count": "2"}).gpu_count == 2
    with pytest.raises(ConfigError, match="gpu-count 2 needs at least 2 entries in gpu-indices"):
        load_workload({"gpu-indices": "3", "gpu-count": "2"})


def test_dedicated_gpu_needs_a_model() -> None:
    with pytest.raises(ConfigError, match="dedicated-gpu needs gpu-model"):
        merge([Source("t", {"dedicated-gpu": "true"})])


def test_a_manifest_must_ask_for_something(tmp_path: Path) -> None:
    file = tmp_path / "annotations"
    file.write_text('tensor-fusion.ai/gpu-count="1"\n')
    with pytest.raises(ConfigError, match="asks for no amount of GPU"):
        load_workload({}, annotations=[file])
    file.write_text('tensor-fusion.ai/isolation="shared"\n')
    load_workload({}, annotations=[file])


def test_all_problems_are_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        load_workload({"vram-limit": "x", "qos": "y", "gpu-count": "0"})
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "vram-limit",
        "qos",
        "gpu-count",
    ]


@given(
    st.dictionaries(
        st.sampled_from([setting.name for setting in SETTINGS]),
        st.one_of(
            st.text(max_size=20),
            st.integers(),
            st.booleans(),
            st.floats(),
            st.none(),
            st.lists(st.integers(), max_size=3),
            st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        ),
        max_size=4,
    )
)
def test_any_values_give_a_configuration_or_a_config_error(values: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(merge([Source("fuzz", values)]), WorkloadConfig)


# The example of the reference page, as a downward-API volume shows it.
EXAMPLE = {
    "inject-container": "python",
    "tflops-limit": "20",
    "tflops-request": "10",
    "vram-limit": "4Gi",
    "vram-request": "4Gi",
    "qos": "medium",
    "workload-profile": "default-profile",
    "is-local-gpu": "true",
    "gpu-count": "1",
}
REFUSED = {
    "inject-container",
    "tflops-limit",
    "tflops-request",
    "vram-request",
    "workload-profile",
    "is-local-gpu",
}


def write_annotations(path: Path, values: dict[str, str]) -> Path:
    path.write_text("".join(f'tensor-fusion.ai/{k}="{v}"\n' for k, v in values.items()))
    return path


def test_the_reference_example_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_workload({}, annotations=[write_annotations(tmp_path / "a", EXAMPLE)])
    named = {line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]}
    assert named == REFUSED


def test_the_rest_of_the_reference_example_is_accepted(tmp_path: Path) -> None:
    kept = {key: value for key, value in EXAMPLE.items() if key not in REFUSED}
    config = load_workload({}, annotations=[write_annotations(tmp_path / "a", kept)])
    assert (config.vram_limit, config.gpu_count) == (2**32, 1)


def test_unknown_annotations_with_our_prefix_are_refused(tmp_path: Path) -> None:
    file = write_annotations(tmp_path / "a", {"vram-limits": "4Gi", "replicas": "1"})
    with pytest.raises(ConfigError, match=r"tensor-fusion\.ai/vram-limits, tensor-fusion\.ai/repl"):
        load_workload({}, annotations=[file])


PROFILE = """
apiVersion: tensor-fusion.ai/v1
kind: WorkloadProfile
metadata: {name: example-workload-profile, namespace: default}
spec:
  resources:
    requests: {tflops: "5", vram: "3Gi"}
    limits: {tflops: "15", vram: "3Gi"}
  replicas: 1
  isLocalGPU: true
  poolName: default-pool
  qos: medium
  gpuCount: 1
  gpuModel: A100
  autoScalingConfig: {}
"""


def test_the_reference_profile_is_understood() -> None:
    profile = parse_profile(PROFILE, origin="profile.yaml")
    config = merge([Source("profile.yaml", profile.values)], profile_name=profile.name)
    assert config.profile_name == "example-workload-profile"
    assert (config.tflops_request, config.tflops_limit) == (Fraction(5), Fraction(15))
    assert (config.vram_request, config.vram_limit) == (3 * 2**30, 3 * 2**30)
    assert (config.gpupool, config.gpu_model, config.is_local_gpu) == ("default-pool", "A100", True)


def test_a_profile_named_by_annotation_may_be_given_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "apiVersion: tensor-fusion.ai/v1\nkind: WorkloadProfile\nmetadata: {name: mine}\n"
        "spec: {resources: {limits: {vram: 1Gi}}}\n"
    )
    annotations = write_annotations(tmp_path / "a", {"workload-profile": "mine"})
    assert load_workload({}, annotations=[annotations], profile=file).vram_limit == 2**30
    annotations = write_annotations(tmp_path / "a", {"workload-profile": "other"})
    with pytest.raises(ConfigError, match="'other'"):
        load_workload({}, annotations=[annotations], profile=file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spec: [", "not valid YAML"),
        ("- a", "one WorkloadProfile document"),
        ("apiVersion: v1\nkind: Pod", "'v1' 'Pod', expected apiVersion 'tensor-fusion.ai/v1'"),
        (PROFILE + "  gpuCounts: 2\n", r"unknown fields: spec\.gpuCounts\."),
        (PROFILE + "extra: 1\n", r"unknown fields: extra\."),
        (PROFILE.replace("limits:", "limit:"), r"spec\.resources\.limit\."),
        (PROFILE.replace('{tflops: "5"', '{tflop: "5"'), r"spec\.resources\.requests\.tflop\."),
        ("apiVersion: tensor-fusion.ai/v1\nkind: WorkloadProfile\nspec: 3", "must be a mapping"),
    ],
)
def test_bad_profiles(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_profile(text, origin="profile.yaml")


def test_profile_fields_are_settings() -> None:
    assert set(BY_PROFILE_PATH) >= {"replicas", "isLocalGPU", "poolName", "autoScalingConfig"}
