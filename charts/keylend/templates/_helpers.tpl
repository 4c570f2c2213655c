{{- define "keylend.labels" -}}
app.kubernetes.io/name: keylend
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "keylend.selector" -}}
app.kubernetes.io/name: keylend
app.kubernetes.io/component: operator
{{- end }}

{{- define "keylend.image" -}}
{{- $image := index .root.Values.image .which -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* Running pods have the namespace burned in, so it is fixed. */ -}}
{{- define "keylend.namespace" -}}
{{- if ne .Release.Namespace "keylend-system" -}}
{{- fail "keylend: install into the namespace keylend-system (helm install keylend ... --namespace keylend-system --create-namespace); injected pods have it burned in" -}}
{{- end -}}
keylend-system
{{- end }}
