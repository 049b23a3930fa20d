"""containerd's own configuration, for tests."""

from __future__ import annotations

from pathlib import Path

# Without what this machine may lack, what would answer other programs, and what writes to places of its own.
# restrict_oom_score_adj: without CAP_SYS_RESOURCE no process may be spared more than its parent.
_COMMON = """
root = "{root}"
state = "{state}/run"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{state}/containerd.sock"

[ttrpc]
address = "{state}/containerd.sock.ttrpc"

[plugins."io.containerd.grpc.v1.cri"]
disable_tcp_service = true
"""

_OF_1 = """
restrict_oom_score_adj = true
{sandbox}
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{state}/cni"
bin_dir = "{state}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
discard_unpacked_layers = {discard}

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{certs}"
"""

_OF_2 = """
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = "{state}/cni"
bin_dirs = ["{state}/cni"]

[plugins."io.containerd.cri.v1.images"]
discard_unpacked_layers = {discard}
{parts}
[plugins."io.containerd.cri.v1.images".pinned_images]
{sandbox}
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{certs}"

[plugins."io.containerd.transfer.v1.local"]
{parts}"""


def config_text(
    major: int,
    *,
    root: Path,
    state: Path,
    certs: Path,
    discard_unpacked_layers: bool,
    fetch_buffer: int,
    sandbox_image: str,
) -> str:
    """`config.toml` of containerd 1.x or 2.x.

    certs: the directory of `hosts.toml` files. state: where its socket, `containerd.sock`, shall be, and all
    that does not outlive it. fetch_buffer: bytes of the parts in which 2.x reads a layer, several at once; 0
    for all of it in one. Of 2.x, CRI pulls by itself when it is to discard layers, and else leaves it to the
    transfer service. sandbox_image: of the first container of each pod; "" for containerd's own choice.
    """
    text = f"version = {3 if major > 1 else 2}\n" + _COMMON + (_OF_2 if major > 1 else _OF_1)
    discard = str(discard_unpacked_layers).lower()
    parts = f"concurrent_layer_fetch_buffer = {fetch_buffer}\n" if fetch_buffer else ""
    sandbox = f'{"sandbox" if major > 1 else "sandbox_image"} = "{sandbox_image}"\n' if sandbox_image else ""
    return text.format(root=root, state=state, certs=certs, discard=discard, parts=parts, sandbox=sandbox)
