{{- define "paddock.podSecurityContext" -}}
{{- $adapt := and (eq .Values.podSecurity.adaptSecurityContext "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
runAsNonRoot: true
{{- if not $adapt }}
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "paddock.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The scheduling of a pod of (list root settings component): the component's fields, else the global ones. */}}
{{- define "paddock.scheduling" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
{{- $global := $root.Values.global -}}
{{- $pull := list -}}
{{- range $global.imagePullSecrets -}}
{{- $pull = append $pull (ternary . (dict "name" .) (kindIs "map" .)) -}}
{{- end -}}
{{- with $pull }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $global.nodeSelector $settings.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $global.affinity $settings.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $global.tolerations $settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $global.priorityClassName $settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with default $global.runtimeClassName $settings.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- $spread := default $global.topologySpreadConstraints $settings.topologySpreadConstraints }}
{{- if $spread }}
topologySpreadConstraints:
  {{- toYaml $spread | nindent 2 }}
{{- else if and (eq $root.Values.mode "ha") (has (index . 2) (list "api" "operator")) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "paddock.selector" (list $root (index . 2)) | nindent 8 }}
{{- end }}
{{- end -}}

{{/* The fields that every pod has, of (list root settings component serviceAccount hasToken). */}}
{{- define "paddock.podCommon" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ index . 3 }}
automountServiceAccountToken: {{ index . 4 }}
# Variables of service links have the names of settings, such as DB_PORT for a Service named db.
enableServiceLinks: false
securityContext:
  {{- include "paddock.podSecurityContext" $root | nindent 2 }}
{{- include "paddock.scheduling" (list $root (index . 1) (index . 2)) }}
{{- end -}}

{{/* The fields that every container of Paddock has, of (list root component environment). */}}
{{- define "paddock.containerCommon" -}}
{{- $root := index . 0 -}}
image: {{ include "paddock.image" (list $root $root.Values.image $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  {{- include "paddock.containerSecurityContext" $root | nindent 2 }}
{{- end -}}

{{/* The volumes of a pod of (list root component settings). */}}
{{- define "paddock.volumes" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- with include "paddock.secretSources" (list $root $component) | trim }}
- name: secrets
  projected:
    # Readable for any user: on OpenShift the user of the pod is not known before.
    defaultMode: 0444
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if and $root.Values.ollama.caConfigMap (has $component (list "api" "operator" "server")) }}
- name: ollama-ca
  configMap:
    name: {{ $root.Values.ollama.caConfigMap }}
    items:
      - key: {{ $root.Values.ollama.caKey }}
        path: ca.crt
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with (index . 2).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The mounts of these volumes. */}}
{{- define "paddock.mounts" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if include "paddock.secretSources" (list $root $component) | trim }}
- name: secrets
  mountPath: /etc/paddock/secrets
  readOnly: true
{{- end }}
{{- if and $root.Values.ollama.caConfigMap (has $component (list "api" "operator" "server")) }}
- name: ollama-ca
  mountPath: /etc/paddock/ollama-ca
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with (index . 2).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The probes of a server. The metrics listener answers them, because it has no connection limit. */}}
{{- define "paddock.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: metrics
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* How a server stops: endpoints forget the pod during the sleep, then open requests drain. */}}
{{- define "paddock.gracePeriod" -}}
{{- add .Values.config.drainTimeoutSeconds 15 -}}
{{- end -}}
