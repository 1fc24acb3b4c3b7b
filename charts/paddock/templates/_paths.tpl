{{/* Paths whose responses stream for minutes or hours: a proxy must neither buffer them nor end them. */}}
{{- define "paddock.streamingPaths" -}}
- /api
- /v1
- /ollama
- /models/pull
- /audit/export
{{- end -}}
