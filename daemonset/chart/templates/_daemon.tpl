{{- /* Whether the pod may mount so that the node sees it. */ -}}
{{- define "cached.mounts" -}}
{{- if or .Values.mounts.enabled .Values.csi.enabled }}yes{{ end -}}
{{- end -}}

{{- define "cached.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- /* MiB that the daemon needs: 150, and 8 for each buffer, in steps of 64. */ -}}
{{- define "cached.memory" -}}
{{- $transfer := .Values.settings.transfer | default dict -}}
{{- $buffers := add (dig "connections" 16 $transfer) (dig "spare_buffers" 8 $transfer) -}}
{{- mul 64 (div (add 150 (mul 8 $buffers) 63) 64) -}}
{{- end -}}

{{- /* Settings that the switches bring, as variables. */ -}}
{{- define "cached.env" -}}
{{- if .Values.csi.enabled }}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}
{{- if include "cached.mounts" . }}
- {name: CACHED__PUBLISH__MODE, value: bind}
{{- end }}
{{- if .Values.csi.enabled }}
- {name: CACHED__CSI__DRIVER, value: csi.cached.dev}
- {name: CACHED__CSI__NODE, value: $(NODE_NAME)}
{{- if ne .Values.kubeletDirectory "/var/lib/kubelet" }}
- {name: CACHED__CSI__KUBELET_ROOT, value: {{ .Values.kubeletDirectory }}}
{{- end }}
{{- end }}
{{- if .Values.gate.enabled }}
- name: CACHED__GATE__NODE
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}
{{- if .Values.peers.enabled }}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- {name: CACHED__PEERS__ADVERTISE, value: "$(POD_IP):7400"}
- {name: CACHED__PEERS__MEMBERS__ENDPOINT_SLICES, value: $(POD_NAMESPACE)/cached}
- name: CACHED__PEERS__ZONE
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
- {name: CACHED__PEERS__TLS__CA, value: /etc/cached/tls/ca.crt}
- {name: CACHED__PEERS__TLS__CERT, value: /etc/cached/tls/tls.crt}
- {name: CACHED__PEERS__TLS__KEY, value: /etc/cached/tls/tls.key}
- {name: CACHED__PEERS__TLS__NAME, value: cached.internal}
{{- end }}
{{- if .Values.mirror.enabled }}
{{- if .Values.mirror.hostNetwork }}
- {name: CACHED__IMAGES__MIRROR, value: "127.0.0.1:7402"}
{{- else }}
- {name: CACHED__IMAGES__MIRROR, value: "0.0.0.0:7402"}
- {name: CACHED__IMAGES__MIRROR_FOR_OTHERS, value: "true"}
{{- end }}
- {name: CACHED__IMAGES__RUNTIME__ROOT, value: /var/lib/containerd}
{{- end }}
{{- if .Values.runtime.enabled }}
- {name: CACHED__IMAGES__RUNTIME__SOCKET, value: /run/containerd/containerd.sock}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
