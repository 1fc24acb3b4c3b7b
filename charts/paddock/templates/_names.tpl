{{/* A prefix of every name, at most 40 characters: the longest suffix must fit into 63. */}}
{{- define "paddock.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if gt (len $full) 40 -}}
{{- printf "%s-%s" (trunc 31 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{/* The component that serves the API: `server` in embedded, `api` in ha. */}}
{{- define "paddock.apiComponent" -}}
{{- ternary "api" "server" (eq .Values.mode "ha") -}}
{{- end -}}

{{- define "paddock.engine" -}}
{{- if or .Values.database.host .Values.database.existingSecret -}}postgresql{{- else -}}sqlite{{- end -}}
{{- end -}}

{{- define "paddock.apiReplicas" -}}
{{- if kindIs "invalid" .Values.api.replicas -}}
{{- ternary 2 1 (eq .Values.mode "ha") -}}
{{- else -}}
{{- .Values.api.replicas -}}
{{- end -}}
{{- end -}}

{{- define "paddock.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{- tpl .Values.publicUrl . | trimSuffix "/" -}}
{{- else -}}
{{- printf "http://%s.%s.svc:%v" (include "paddock.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end -}}
{{- end -}}

{{- define "paddock.ollamaUrl" -}}
{{- if .Values.ollama.url -}}
{{- .Values.ollama.url -}}
{{- else -}}
{{- printf "http://%s-ollama.%s.svc:11434" (include "paddock.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- define "paddock.apiServiceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- printf "%s-api" (include "paddock.fullname" .) -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.apiName -}}
{{- end -}}
{{- end -}}

{{- define "paddock.operatorServiceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- printf "%s-operator" (include "paddock.fullname" .) -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.operatorName -}}
{{- end -}}
{{- end -}}

{{/* The name of the leader lease: of the release, so that two releases can share a namespace. */}}
{{- define "paddock.lease" -}}
{{- printf "%s-operator" (include "paddock.fullname" .) -}}
{{- end -}}

{{- define "paddock.bootstrapSecret" -}}
{{- default (printf "%s-bootstrap-admin" (include "paddock.fullname" .)) .Values.bootstrap.secretName -}}
{{- end -}}

{{/* Not empty: an init container of the operator creates the first admin, instead of a hook. */}}
{{- define "paddock.operatorBootstraps" -}}
{{- if and .Values.operator.enabled (eq .Values.migrations.mode "initContainer") -}}true{{- end -}}
{{- end -}}

{{/* An image of (list root image defaultTag). */}}
{{- define "paddock.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := default $image.registry $root.Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default (index . 2) $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The labels of an object of (list root component). */}}
{{- define "paddock.labels" -}}
{{- $root := index . 0 -}}
{{ include "paddock.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: paddock
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- $common := merge (dict) $root.Values.commonLabels $root.Values.global.commonLabels }}
{{- with $common }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels that select the pods of (list root component). They never change. */}}
{{- define "paddock.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The metadata of an object of (list root component name), with more annotations as a fourth. */}}
{{- define "paddock.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
{{ include "paddock.unscopedMetadata" . }}
{{- end -}}

{{- define "paddock.unscopedMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "paddock.labels" . | nindent 2 }}
{{- $annotations := dict }}
{{- if gt (len .) 3 }}
{{- $annotations = index . 3 }}
{{- end }}
{{- $annotations = merge (dict) $annotations $root.Values.commonAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
