{{/* The environment of a container of (list root component): api, operator, server, migrate, bootstrap. */}}
{{- define "paddock.env" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $v := $root.Values -}}
- name: ENVIRONMENT
  value: {{ $v.environment }}
- name: LOG_FORMAT
  value: {{ $v.config.logFormat }}
- name: LOG_LEVEL
  value: {{ $v.config.logLevel | quote }}
{{ include "paddock.databaseEnv" $root }}
{{- if ne $component "migrate" }}
{{ include "paddock.signingEnv" $root }}
{{- end }}
{{- if has $component (list "api" "operator" "server") }}
{{ include "paddock.serveEnv" (list $root $component) }}
{{- end }}
{{- if has $component (list "operator" "server") }}
{{- with $v.operator.watchNamespaces }}
- name: WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- with $v.operator.adminNamespaces }}
- name: ADMIN_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- if kindIs "slice" $v.operator.adoptionNamespaces }}
- name: ADOPTION_NAMESPACES
  value: {{ join "," $v.operator.adoptionNamespaces | quote }}
{{- end }}
- name: LEASE_NAMESPACE
  value: {{ $root.Release.Namespace }}
- name: LEASE_NAME
  value: {{ include "paddock.lease" $root }}
- name: LEASE_IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- if and (eq $component "bootstrap") $v.bootstrap.existingSecret }}
- name: ADMIN_BOOTSTRAP_PASSWORD_FILE
  value: /etc/paddock/secrets/admin-password
{{- end }}
{{- end -}}

{{- define "paddock.databaseEnv" -}}
{{- if eq (include "paddock.engine" .) "sqlite" -}}
- name: DATABASE_URL
  value: sqlite:/var/lib/paddock/paddock.db
{{- else if .Values.database.urlKey -}}
- name: DATABASE_URL_FILE
  value: /etc/paddock/secrets/database-url
{{- else -}}
- name: DB_HOST
  value: {{ .Values.database.host | quote }}
- name: DB_PORT
  value: {{ .Values.database.port | quote }}
- name: DB_NAME
  value: {{ .Values.database.name | quote }}
- name: DB_USER
  value: {{ .Values.database.user | quote }}
- name: DB_PASSWORD_FILE
  value: /etc/paddock/secrets/database-password
{{- end }}
- name: DB_MAX_CONNECTIONS
  value: {{ .Values.database.maxConnections | quote }}
{{- end -}}

{{- define "paddock.signingEnv" -}}
{{- if .Values.secrets.existingSecret -}}
- name: JWT_SECRET_FILE
  value: /etc/paddock/secrets/jwt-secret
- name: AUDIT_SIGNING_KEY_FILE
  value: /etc/paddock/secrets/audit-signing-key
{{ end -}}
- name: JWT_ALG
  value: {{ .Values.config.jwtAlgorithm }}
- name: PASSWORD_MIN_LENGTH
  value: {{ .Values.config.passwordMinLength | quote }}
{{- with .Values.config.auditRetentionDays }}
- name: AUDIT_RETENTION_DAYS
  value: {{ . | quote }}
{{- end }}
{{- if eq .Values.mode "embedded" }}
- name: AUDIT_HEAD_FILE
  value: /var/lib/paddock/audit-head
{{- end }}
{{- end -}}

{{- define "paddock.serveEnv" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $v := $root.Values -}}
{{- $config := $v.config -}}
{{- if eq $v.environment "local" -}}
- name: LISTEN_ADDR
  value: 0.0.0.0:8080
- name: METRICS_ADDR
  value: 0.0.0.0:9090
{{ end -}}
- name: PUBLIC_URL
  value: {{ include "paddock.publicUrl" $root | quote }}
- name: OLLAMA_BASE_URL
  value: {{ include "paddock.ollamaUrl" $root | quote }}
{{- if eq $v.ollama.discovery "dns" }}
- name: OLLAMA_DISCOVERY
  value: dns
{{- end }}
{{- if $v.ollama.caConfigMap }}
- name: OLLAMA_CA_FILE
  value: /etc/paddock/ollama-ca/ca.crt
{{- end }}
{{- if $v.ollama.existingSecret }}
- name: OLLAMA_AUTHORIZATION_FILE
  value: /etc/paddock/secrets/ollama-authorization
{{- end }}
- name: MODEL_REGISTRIES
  value: {{ join "," $config.modelRegistries | quote }}
- name: DRAIN_TIMEOUT
  value: {{ printf "%vs" $config.drainTimeoutSeconds }}
{{- with $config.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if ne $component "operator" }}
- name: RATE_LIMIT_PER_MINUTE
  value: {{ $config.rateLimitPerMinute | quote }}
- name: AUTH_FAILURES_PER_MINUTE
  value: {{ $config.authFailuresPerMinute | quote }}
- name: MAX_PULLS
  value: {{ $config.maxPulls | quote }}
{{- with $config.maxConcurrentPerModel }}
- name: MAX_CONCURRENT_PER_MODEL
  value: {{ . | quote }}
{{- end }}
{{- with $config.queueSize }}
- name: QUEUE_SIZE
  value: {{ . | quote }}
{{- end }}
{{- with $config.queueTimeout }}
- name: QUEUE_TIMEOUT
  value: {{ . }}
{{- end }}
{{- with $config.maxConnections }}
- name: MAX_CONNECTIONS
  value: {{ . | quote }}
{{- end }}
{{- if and $v.redis.enabled $v.redis.existingSecret }}
- name: REDIS_URL_FILE
  value: /etc/paddock/secrets/redis-url
{{- end }}
{{- with $config.trustedProxies }}
- name: TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- with $config.corsAllowedOrigins }}
- name: CORS_ALLOWED_ORIGINS
  value: {{ join "," . | quote }}
{{- end }}
- name: USAGE_SPOOL_DIR
  value: /var/lib/paddock/usage
{{- with $config.upstreamHeadersTimeout }}
- name: UPSTREAM_HEADERS_TIMEOUT
  value: {{ . }}
{{- end }}
{{- with $config.upstreamIdleTimeout }}
- name: UPSTREAM_IDLE_TIMEOUT
  value: {{ . }}
{{- end }}
{{- with $config.upstreamTotalTimeout }}
- name: UPSTREAM_TOTAL_TIMEOUT
  value: {{ . }}
{{- end }}
{{- with $config.upstreamLifetimeTimeout }}
- name: UPSTREAM_LIFETIME_TIMEOUT
  value: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The projected volume with one file a secret, for a pod of (list root component). Empty: no secret. */}}
{{- define "paddock.secretSources" -}}
{{- $v := (index . 0).Values -}}
{{- $component := index . 1 -}}
{{- $serves := has $component (list "api" "operator" "server") -}}
{{- if and $v.secrets.existingSecret (ne $component "migrate") }}
- secret:
    name: {{ $v.secrets.existingSecret }}
    items:
      - key: {{ $v.secrets.jwtSecretKey }}
        path: jwt-secret
      - key: {{ $v.secrets.auditSigningKeyKey }}
        path: audit-signing-key
{{- end }}
{{- if $v.database.existingSecret }}
- secret:
    name: {{ $v.database.existingSecret }}
    items:
      - key: {{ ternary $v.database.urlKey $v.database.passwordKey (ne $v.database.urlKey "") }}
        path: {{ ternary "database-url" "database-password" (ne $v.database.urlKey "") }}
{{- end }}
{{- if and $serves (ne $component "operator") $v.redis.enabled $v.redis.existingSecret }}
- secret:
    name: {{ $v.redis.existingSecret }}
    items:
      - key: {{ $v.redis.urlKey }}
        path: redis-url
{{- end }}
{{- if and $serves $v.ollama.existingSecret }}
- secret:
    name: {{ $v.ollama.existingSecret }}
    items:
      - key: {{ $v.ollama.authorizationKey }}
        path: ollama-authorization
{{- end }}
{{- if and (has $component (list "bootstrap" "server" "operator")) $v.bootstrap.enabled $v.bootstrap.existingSecret }}
- secret:
    name: {{ $v.bootstrap.existingSecret }}
    items:
      - key: {{ $v.bootstrap.passwordKey }}
        path: admin-password
{{- end }}
{{- end -}}
