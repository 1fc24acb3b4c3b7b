{{/* Refuses contradictions between values: one sentence each, which names the value to set. */}}
{{- define "paddock.preflight" -}}
{{- $errors := list -}}
{{- $replicas := include "paddock.apiReplicas" . | int -}}
{{- $engine := include "paddock.engine" . -}}
{{- $ha := eq .Values.mode "ha" -}}
{{- if and (eq .Values.environment "prod") (not .Values.secrets.existingSecret) -}}
{{- $errors = append $errors "secrets.existingSecret is not set, and prod needs it: create a Secret with jwt-secret and audit-signing-key, and name it there" -}}
{{- end -}}
{{- if and (eq .Values.environment "local") (or $ha (eq $engine "postgresql")) -}}
{{- $errors = append $errors "environment: local is for a try-out with mode: embedded on SQLite; set environment: prod" -}}
{{- end -}}
{{- if not (or .Values.ollama.url .Values.ollama.enabled) -}}
{{- $errors = append $errors "ollama: set ollama.url to the URL of your Ollama, or ollama.enabled: true to run one" -}}
{{- end -}}
{{- if and .Values.ollama.url .Values.ollama.enabled -}}
{{- $errors = append $errors "ollama.url and ollama.enabled are both set; unset one of them" -}}
{{- end -}}
{{- if and (eq .Values.ollama.discovery "dns") (contains "," .Values.ollama.url) -}}
{{- $errors = append $errors "ollama.discovery: dns needs one URL in ollama.url, whose host has an address for each Ollama" -}}
{{- end -}}
{{- if and $ha (eq $engine "sqlite") -}}
{{- $errors = append $errors "mode: ha needs PostgreSQL: set database.existingSecret" -}}
{{- end -}}
{{- if and (eq $engine "postgresql") (not .Values.database.existingSecret) -}}
{{- $errors = append $errors "database.existingSecret is not set: name the Secret with the password of PostgreSQL" -}}
{{- end -}}
{{- if and (eq $engine "postgresql") (not .Values.database.urlKey) (not .Values.database.host) -}}
{{- $errors = append $errors "database: set database.host, or database.urlKey to the entry of the Secret that has the URL" -}}
{{- end -}}
{{- if and .Values.database.urlKey .Values.database.host -}}
{{- $errors = append $errors "database.urlKey and database.host are both set; unset one of them" -}}
{{- end -}}
{{- if and $ha .Values.redis.enabled (not .Values.redis.existingSecret) -}}
{{- $errors = append $errors "mode: ha needs Redis: set redis.existingSecret; or set redis.enabled: false, and each pod counts requests alone" -}}
{{- end -}}
{{- if and (not $ha) (ne $replicas 1) -}}
{{- $errors = append $errors (printf "mode: embedded runs one pod, but api.replicas is %d; set mode: ha" $replicas) -}}
{{- end -}}
{{- if and (not $ha) .Values.api.autoscaling.enabled -}}
{{- $errors = append $errors "mode: embedded runs one pod, so api.autoscaling.enabled must be false; set mode: ha" -}}
{{- end -}}
{{- if and .Values.api.podDisruptionBudget.enabled (eq $replicas 1) -}}
{{- $errors = append $errors "api.podDisruptionBudget.enabled with one replica would block every drain of its node; set api.replicas: 2 or more in mode: ha" -}}
{{- end -}}
{{- if and .Values.operator.podDisruptionBudget.enabled (or (not $ha) (lt (int .Values.operator.replicas) 2)) -}}
{{- $errors = append $errors "operator.podDisruptionBudget.enabled with one replica would block every drain of its node; set operator.replicas: 2 in mode: ha" -}}
{{- end -}}
{{- if and $ha .Values.api.autoscaling.enabled (gt (int .Values.api.autoscaling.minReplicas) (int .Values.api.autoscaling.maxReplicas)) -}}
{{- $errors = append $errors "api.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- if and (not $ha) (eq $engine "sqlite") (eq .Values.environment "prod") (not .Values.persistence.enabled) -}}
{{- $errors = append $errors "persistence.enabled: false would lose the SQLite database at every restart; enable it, or set database.existingSecret" -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.operatorName) -}}
{{- $errors = append $errors "serviceAccount.create is false: set serviceAccount.operatorName" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- $errors = append $errors "ingress.host is not set" -}}
{{- end -}}
{{- if and .Values.ingress.tls.enabled (not .Values.ingress.tls.secretName) -}}
{{- $errors = append $errors "ingress.tls.secretName is not set: name the Secret with the certificate" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $errors = append $errors "httpRoute.parentRefs is empty: name the Gateway" -}}
{{- end -}}
{{- if and .Values.models (not .Values.operator.enabled) -}}
{{- $errors = append $errors "models needs the operator: set operator.enabled: true, or remove models" -}}
{{- end -}}
{{- $watched := .Values.operator.watchNamespaces -}}
{{- if $watched -}}
{{- range .Values.operator.adminNamespaces -}}
{{- if not (has . $watched) -}}
{{- $errors = append $errors (printf "operator.adminNamespaces has %s, which operator.watchNamespaces does not watch" .) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.models (not (has .Release.Namespace $watched)) -}}
{{- $errors = append $errors (printf "models are objects in %s, which operator.watchNamespaces does not watch" .Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- if $errors -}}
{{- fail (printf "\n\n- %s\n" (join "\n- " $errors)) -}}
{{- end -}}
{{- end -}}
