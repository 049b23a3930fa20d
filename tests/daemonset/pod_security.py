"""Pod Security Standards: the strictest level that admits a pod (of Linux; as of Kubernetes 1.34)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

Level = Literal["privileged", "baseline", "restricted"]
Spec = dict[str, Any]

_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ]
)
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)


def level(pod: Spec) -> Level:
    """Of a pod, or of a pod template."""
    spec = pod["spec"]
    if any(_against_baseline(pod.get("metadata", {}), spec)):
        return "privileged"
    return "baseline" if any(_against_restricted(spec)) else "restricted"


def _containers(spec: Spec) -> list[Spec]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [each for kind in kinds for each in spec.get(kind) or ()]


def _contexts(spec: Spec) -> list[Spec]:
    """The pod's own first, then each container's."""
    return [spec.get("securityContext") or {}] + [c.get("securityContext") or {} for c in _containers(spec)]


def _against_baseline(metadata: Spec, spec: Spec) -> Iterator[bool]:
    contexts = _contexts(spec)
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        yield bool(spec.get(name))
    yield any("hostPath" in volume for volume in spec.get("volumes") or ())
    for container in _containers(spec):
        context = container.get("securityContext") or {}
        yield any(port.get("hostPort") for port in container.get("ports") or ())
        yield bool(context.get("privileged"))
        yield not _CAPABILITIES.issuperset((context.get("capabilities") or {}).get("add") or ())
        yield context.get("procMount", "Default") != "Default"
        handlers = [container.get(name) or {} for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [handler or {} for handler in (container.get("lifecycle") or {}).values()]
        # From 1.34 on: kubelet is not to be sent to other hosts.
        yield any((h.get(kind) or {}).get("host") for h in handlers for kind in ("httpGet", "tcpSocket"))
    for context in contexts:
        yield (context.get("windowsOptions") or {}).get("hostProcess") is True
        yield (context.get("appArmorProfile") or {}).get("type") == "Unconfined"
        yield (context.get("seccompProfile") or {}).get("type") == "Unconfined"
        selinux = context.get("seLinuxOptions") or {}
        yield selinux.get("type", "") not in _SELINUX_TYPES or bool(
            selinux.get("user") or selinux.get("role")
        )
    yield any(sysctl["name"] not in _SYSCTLS for sysctl in contexts[0].get("sysctls") or ())
    yield any(
        name.startswith("container.apparmor.security.beta.kubernetes.io/") and value == "unconfined"
        for name, value in (metadata.get("annotations") or {}).items()
    )


def _against_restricted(spec: Spec) -> Iterator[bool]:
    pod = spec.get("securityContext") or {}
    yield any(not _VOLUMES.issuperset(set(volume) - {"name"}) for volume in spec.get("volumes") or ())
    yield pod.get("runAsUser") == 0
    for container in _containers(spec):
        context = container.get("securityContext") or {}
        capabilities = context.get("capabilities") or {}
        yield context.get("allowPrivilegeEscalation") is not False
        yield "ALL" not in (capabilities.get("drop") or ())
        yield bool(set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"})
        yield context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True
        yield context.get("runAsUser") == 0
        seccomp = context.get("seccompProfile") or pod.get("seccompProfile") or {}
        yield seccomp.get("type") not in ("RuntimeDefault", "Localhost")
