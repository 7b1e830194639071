"""Messages as protocol 1.0 wrote them, byte for byte: every later minor must read them alike.

Never change an entry; a field that a later minor adds must have a default.
"""

import pytest

from vgpu.protocol import control

SESSION = bytes(range(16))
DEVICE = control.Device(
    ordinal=0,
    name="Software GPU",
    uuid=SESSION,
    total_memory=1 << 30,
    attributes={75: 13, 76: 0},
    pci=[0, 1, 0],
)

FROZEN = [
    (
        "83a174a568656c6c6fa776657273696f6e920100a6636c69656e7483a37069642aa4686f7374a3626f78a7"
        "70726f6772616da7707974686f6e33",
        control.Hello(
            version=(1, 0), client=control.ClientIdentity(pid=42, host="box", program="python3")
        ),
    ),
    (
        "84a174a462696e64a773657373696f6ec410000102030405060708090a0b0c0d0e0fab656e7669726f6e6d"
        "656e7481b3435544415f4d4f44554c455f4c4f4144494e47a44c415a59ad636c69656e745f7075626c6963"
        "a0",
        control.Bind(session=SESSION, environment={"CUDA_MODULE_LOADING": "LAZY"}),
    ),
    (
        "82a174a3656e64a773657373696f6ec410000102030405060708090a0b0c0d0e0f",
        control.End(session=SESSION),
    ),
    (
        "84a174a57265616479a370696407ae6472697665725f76657273696f6ecd32c8a7646576696365739186a7"
        "6f7264696e616c00a46e616d65ac536f66747761726520475055a475756964c41000010203040506070809"
        "0a0b0c0d0e0fac746f74616c5f6d656d6f7279ce40000000aa61747472696275746573824b0d4c00a37063"
        "6993000100",
        control.Ready(pid=7, driver_version=13000, devices=(DEVICE,)),
    ),
    (
        "83a174a5626f756e64a7636f6d6d616e64ac7463703a2f2f2a3a35303031a462756c6bac7463703a2f2f2a"
        "3a35303032",
        control.Bound(command="tcp://*:5001", bulk="tcp://*:5002"),
    ),
    (
        "86a174aa73746174697374696373a77265636f72647301a86c61756e6368657302ab6c6174655f6572726f"
        "727300a862797465735f696e03a962797465735f6f757404",
        control.Statistics(records=1, launches=2, late_errors=0, bytes_in=3, bytes_out=4),
    ),
    (
        "83a174a5656e646564a6726561736f6eb774686520636c69656e74207361696420676f6f64627965a5636c"
        "65616ec3",
        control.Ended(reason="the client said goodbye", clean=True),
    ),
    (
        "83a174a56572726f72a4636f6465a776657273696f6ea76d657373616765a26e6f",
        control.Refusal(code="version", message="no"),
    ),
]


@pytest.mark.parametrize(("frame", "message"), FROZEN, ids=[m.name for _, m in FROZEN])
def test_reads_what_version_1_0_wrote(frame: str, message: control.Message) -> None:
    fields = control.decode(bytes.fromhex(frame))
    assert fields.pop("t") == message.name
    assert type(message).read(fields) == message
