{{- /* What pods of all parts have alike: (dict "root" $ "part" values "selector" labels). */}}
{{- define "kcp.podSpec" -}}
serviceAccountName: {{ include "kcp.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .part.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
affinity:
{{- if .part.affinity }}
  {{- toYaml .part.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- .selector | nindent 14 }}
{{- end }}
{{- end }}

{{- /* Probes over HTTPS at a named port. */}}
{{- define "kcp.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: https, scheme: HTTPS}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 90
livenessProbe:
  httpGet: {path: /livez, port: https, scheme: HTTPS}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: https, scheme: HTTPS}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{- /* Files of a Secret below /etc/kcp/tls: (list "directory" "secret" (list "tls.crt" "tls.key")). */}}
{{- define "kcp.secretFiles" -}}
{{- $directory := index . 0 }}
- secret:
    name: {{ index . 1 }}
    items:
      {{- range index . 2 }}
      - {key: {{ . }}, path: {{ $directory }}/{{ . }}}
      {{- end }}
{{- end }}

{{- /* A PodDisruptionBudget: (dict "root" "part" "component" "instance" "name"). */}}
{{- define "kcp.disruptionBudget" -}}
{{- if .part.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "kcp.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .part.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "kcp.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}

{{- /* Flags of a store, for whoever keeps objects in it: (dict "root" "store" "name" of the chart's etcd). */}}
{{- define "kcp.storeArgs" -}}
{{- if eq .store.type "etcd" }}
- --etcd-servers=https://{{ include "kcp.host" (list .root .name) }}:2379
- --etcd-cafile=/etc/kcp/tls/etcd/ca.crt
- --etcd-certfile=/etc/kcp/tls/etcd/tls.crt
- --etcd-keyfile=/etc/kcp/tls/etcd/tls.key
{{- else if eq .store.type "external" }}
- '--etcd-servers={{ join "," .store.external.endpoints }}'
- '--etcd-prefix={{ .store.external.prefix }}'
{{- if .store.external.secretName }}
- --etcd-cafile=/etc/kcp/tls/etcd/ca.crt
- --etcd-certfile=/etc/kcp/tls/etcd/tls.crt
- --etcd-keyfile=/etc/kcp/tls/etcd/tls.key
{{- end }}
{{- else }}
- --etcd-servers=embedded
- --embedded-etcd-directory=/var/lib/kcp/store
{{- end }}
{{- end }}

{{- define "kcp.storeFiles" -}}
{{- if eq .store.type "etcd" }}
{{- include "kcp.secretFiles" (list "etcd" .secret (list "ca.crt" "tls.crt" "tls.key")) }}
{{- else if and (eq .store.type "external") .store.external.secretName }}
{{- include "kcp.secretFiles" (list "etcd" .store.external.secretName (list "ca.crt" "tls.crt" "tls.key")) }}
{{- end }}
{{- end }}

{{- /* How users are known: alike at the front-proxy and at shards. */}}
{{- define "kcp.authenticationArgs" -}}
{{- if .Values.tokenAuth.secretName }}
- --token-auth-file=/etc/kcp/tls/tokens/tokens.csv
{{- end }}
{{- with .Values.oidc }}
{{- if .configSecretName }}
- --authentication-config=/etc/kcp/tls/authentication/config.yaml
{{- else if .issuerURL }}
- {{ printf "--oidc-issuer-url=%s" .issuerURL | quote }}
- {{ printf "--oidc-client-id=%s" .clientID | quote }}
{{- with .usernameClaim }}
- {{ printf "--oidc-username-claim=%s" . | quote }}
{{- end }}
{{- with .usernamePrefix }}
- {{ printf "--oidc-username-prefix=%s" . | quote }}
{{- end }}
{{- with .groupsClaim }}
- {{ printf "--oidc-groups-claim=%s" . | quote }}
{{- end }}
{{- with .groupsPrefix }}
- {{ printf "--oidc-groups-prefix=%s" . | quote }}
{{- end }}
{{- with .signingAlgs }}
- '--oidc-signing-algs={{ join "," . }}'
{{- end }}
{{- with .requiredClaims }}
{{- $claims := list }}
{{- range $name := keys . | sortAlpha }}
{{- $claims = append $claims (printf "%s=%s" $name (index $.Values.oidc.requiredClaims $name)) }}
{{- end }}
- {{ printf "--oidc-required-claim=%s" (join "," $claims) | quote }}
{{- end }}
{{- if .caSecretName }}
- --oidc-ca-file=/etc/kcp/tls/oidc/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.featureGates }}
- --feature-gates={{ range $at, $name := keys . | sortAlpha }}{{ if $at }},{{ end }}{{ $name }}={{ index $.Values.featureGates $name }}{{ end }}
{{- end }}
{{- end }}

{{- define "kcp.authenticationFiles" -}}
{{- with .Values.tokenAuth.secretName }}
{{- include "kcp.secretFiles" (list "tokens" . (list "tokens.csv")) }}
{{- end }}
{{- with .Values.oidc.configSecretName }}
{{- include "kcp.secretFiles" (list "authentication" . (list "config.yaml")) }}
{{- end }}
{{- if and .Values.oidc.issuerURL .Values.oidc.caSecretName }}
{{- include "kcp.secretFiles" (list "oidc" .Values.oidc.caSecretName (list "ca.crt")) }}
{{- end }}
{{- end }}
