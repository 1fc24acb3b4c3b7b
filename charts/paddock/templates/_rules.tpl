{{/* The rights of the operator in the namespaces that it watches. */}}
{{- define "paddock.operatorRules" -}}
# Watch the three kinds, and patch their finalizers.
- apiGroups: [paddock.dev]
  resources: [apiusers, apikeys, ollamamodels]
  verbs: [list, watch, patch]
# Ask whether the object that owns a row of the database is gone.
- apiGroups: [paddock.dev]
  resources: [apiusers, apikeys]
  verbs: [get]
# Write their status.
- apiGroups: [paddock.dev]
  resources: [apiusers/status, apikeys/status, ollamamodels/status]
  verbs: [patch]
# Create Secrets whose owner reference to an ApiKey sets blockOwnerDeletion.
- apiGroups: [paddock.dev]
  resources: [apikeys/finalizers]
  verbs: [update]
# Deliver keys in Secrets. RBAC cannot restrict access by label.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Publish events. A repeated event is patched.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The reference to a role, and the operator as its subject, of (list root kind role). */}}
{{- define "paddock.operatorBinding" -}}
{{- $root := index . 0 -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 1 }}
  name: {{ index . 2 }}
subjects:
  - kind: ServiceAccount
    name: {{ include "paddock.operatorServiceAccount" $root }}
    namespace: {{ $root.Release.Namespace }}
{{- end -}}
