"""The CSI node plugin: what kubelet asks for, as volumes."""

from cached.serve.csi.server import CsiServer, Plugin

__all__ = ["CsiServer", "Plugin"]
