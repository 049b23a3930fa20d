"""`oci://`: registries of container images. Small calls are made here, bytes go elsewhere."""

from cached.sources.oci.options import UpstreamOptions
from cached.sources.oci.registry import OciRegistry

__all__ = ["OciRegistry", "UpstreamOptions"]
