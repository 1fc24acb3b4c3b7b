{{/* The container of a long-running process, of (list root settings component arguments). */}}
{{- define "paddock.serverContainer" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
{{- $component := index . 2 -}}
name: {{ ternary "operator" "paddock" (eq $component "operator") }}
{{ include "paddock.containerCommon" (list $root) }}
args:
  {{- toYaml (index . 3) | nindent 2 }}
env:
  {{- include "paddock.env" (list $root $component) | nindent 2 }}
  {{- with $settings.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if ne $component "operator" }}
  - name: http
    containerPort: 8080
  {{- end }}
  - name: metrics
    containerPort: 9090
{{ include "paddock.probes" $root }}
{{- if ne $component "operator" }}
lifecycle:
  preStop:
    sleep:
      seconds: 5
{{- end }}
{{- with $settings.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- if ne $component "operator" }}
  - name: data
    mountPath: /var/lib/paddock
  {{- end }}
  {{- include "paddock.mounts" (list $root $component $settings) | trim | nindent 2 }}
{{- end -}}

{{/* A container that runs one command and ends, of (list root settings component name arguments). */}}
{{- define "paddock.commandContainer" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
{{- $component := index . 2 -}}
name: {{ index . 3 }}
{{ include "paddock.containerCommon" (list $root) }}
args:
  {{- toYaml (index . 4) | nindent 2 }}
env:
  {{- include "paddock.env" (list $root $component) | nindent 2 }}
  {{- with $settings.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $settings.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- if eq $root.Values.mode "embedded" }}
  - name: data
    mountPath: /var/lib/paddock
  {{- end }}
  {{- include "paddock.mounts" (list $root $component $settings) | trim | nindent 2 }}
{{- end -}}

{{/* Labels and annotations of a pod, of (list root settings component). */}}
{{- define "paddock.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
labels:
  {{- include "paddock.labels" (list $root (index . 2)) | nindent 2 }}
  {{- with $settings.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ ternary "operator" "paddock" (eq (index . 2) "operator") }}
  {{- with $settings.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
