{{/* One egress rule to peers on TCP ports, of (list peers ports). No peer: any address. */}}
{{- define "paddock.egress" -}}
- ports:
    {{- range index . 1 }}
    - port: {{ . }}
    {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The ports of the URLs in ollama.url. */}}
{{- define "paddock.ollamaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.ollama.url -}}
{{- $ports = append $ports (include "paddock.urlPort" (trim .)) -}}
{{- end -}}
{{- join "," (uniq $ports) -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "paddock.urlPort" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host -}}
{{- if $port -}}
{{- trimPrefix ":" $port -}}
{{- else -}}
{{- ternary 443 80 (eq $url.scheme "https") -}}
{{- end -}}
{{- end -}}
