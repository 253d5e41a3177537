{{- /*
Every certificate of the control plane, once: the bootstrap job reads this list, and cert-manager's objects are made of it.
Names and groups are those that kcp's own charts issue.
*/}}
{{- define "kcp.certificates" -}}
{{- $ := . }}
{{- $name := include "kcp.fullname" . }}
{{- $hasEtcd := false }}
{{- $parts := list }}
{{- range .Values.shards }}
{{- $shard := include "kcp.shard" (list $ .) | fromYaml }}
{{- $parts = append $parts (dict "name" (printf "shard-%s" $shard.name) "etcd" (printf "etcd-%s" $shard.name) "store" $shard.store) }}
{{- end }}
{{- if .Values.cacheServer.enabled }}
{{- $parts = append $parts (dict "name" "cache" "etcd" "etcd-cache" "store" .Values.cacheServer.store) }}
{{- end }}
{{- range $parts }}
{{- if eq .store.type "etcd" }}
{{- $hasEtcd = true }}
{{- end }}
{{- end }}
authorities:
  - {secret: {{ $name }}-ca, commonName: {{ $name }}-ca}
  - {secret: {{ $name }}-client-ca, commonName: {{ $name }}-client-ca}
  - {secret: {{ $name }}-requestheader-client-ca, commonName: {{ $name }}-requestheader-client-ca}
  {{- if $hasEtcd }}
  - {secret: {{ $name }}-etcd-ca, commonName: {{ $name }}-etcd-ca}
  - {secret: {{ $name }}-etcd-peer-ca, commonName: {{ $name }}-etcd-peer-ca}
  {{- end }}
certificates:
  # The key of service account tokens: one for all shards, never renewed, because tokens end with it.
  - secret: {{ $name }}-service-account
    commonName: {{ $name }}-service-account
    keep: true
  {{- range .Values.shards }}
  - secret: {{ $name }}-shard-{{ .name }}-cert
    authority: {{ $name }}-ca
    commonName: {{ $name }}-shard-{{ .name }}
    usages: [server auth]
    dnsNames:
      {{- include "kcp.hosts" (list $ (printf "shard-%s" .name)) | nindent 6 }}
      {{- include "kcp.hosts" (list $ "shards") | nindent 6 }}
      - localhost
  - secret: {{ $name }}-shard-{{ .name }}-client
    authority: {{ $name }}-client-ca
    commonName: {{ $name }}-shard-{{ .name }}
    # kcp's charts add system:admins and system:kcp:admins, which nothing of kcp reads.
    organizations: ["system:masters"]
    usages: [client auth]
  {{- end }}
  - secret: {{ $name }}-logical-cluster-admin
    authority: {{ $name }}-client-ca
    commonName: logical-cluster-admin
    organizations: ["system:kcp:logical-cluster-admin"]
    usages: [client auth]
  - secret: {{ $name }}-external-logical-cluster-admin
    authority: {{ $name }}-client-ca
    commonName: external-logical-cluster-admin
    organizations: ["system:kcp:external-logical-cluster-admin"]
    usages: [client auth]
  {{- if not (or .Values.frontProxy.certificateSecretName .Values.frontProxy.certificateIssuer) }}
  - secret: {{ $name }}-front-proxy-cert
    authority: {{ $name }}-ca
    commonName: {{ $name }}-front-proxy
    usages: [server auth]
    dnsNames:
      - {{ .Values.externalHostname }}
      {{- include "kcp.hosts" (list $ "front-proxy") | nindent 6 }}
      {{- range .Values.frontProxy.extraDNSNames }}
      - {{ . }}
      {{- end }}
  {{- end }}
  - secret: {{ $name }}-front-proxy-client
    authority: {{ $name }}-client-ca
    commonName: {{ $name }}-front-proxy
    organizations: ["system:masters"]
    usages: [client auth]
  - secret: {{ $name }}-front-proxy-requestheader
    authority: {{ $name }}-requestheader-client-ca
    commonName: {{ $name }}-front-proxy
    usages: [client auth]
    dnsNames:
      - {{ $name }}-front-proxy
  {{- if .Values.cacheServer.enabled }}
  - secret: {{ $name }}-cache-cert
    authority: {{ $name }}-ca
    commonName: {{ $name }}-cache
    usages: [server auth]
    dnsNames:
      {{- include "kcp.hosts" (list $ "cache") | nindent 6 }}
      - localhost
  {{- end }}
  {{- if .Values.virtualWorkspaces.separate }}
  {{- range .Values.shards }}
  - secret: {{ $name }}-virtual-workspaces-{{ .name }}-cert
    authority: {{ $name }}-ca
    commonName: {{ $name }}-virtual-workspaces-{{ .name }}
    usages: [server auth]
    dnsNames:
      {{- include "kcp.hosts" (list $ (printf "virtual-workspaces-%s" .name)) | nindent 6 }}
      - localhost
  {{- end }}
  {{- end }}
  - secret: {{ $name }}-metrics
    authority: {{ $name }}-client-ca
    commonName: metrics-viewer
    organizations: ["system:monitoring"]
    usages: [client auth]
  - secret: {{ $name }}-admin
    authority: {{ $name }}-client-ca
    commonName: kcp-admin
    organizations: ["system:kcp:admin"]
    usages: [client auth]
  {{- range $parts }}
  {{- if eq .store.type "etcd" }}
  {{- $etcd := printf "%s-%s" $name .etcd }}
  - secret: {{ $etcd }}-cert
    authority: {{ $name }}-etcd-ca
    commonName: {{ $etcd }}
    # etcd calls itself with the certificate that it serves with.
    usages: [server auth, client auth]
    dnsNames:
      {{- include "kcp.etcdHosts" (list $ .etcd .store.etcd.replicas) | nindent 6 }}
      {{- include "kcp.hosts" (list $ .etcd) | nindent 6 }}
      - localhost
    ipAddresses: ["0.0.0.0", "127.0.0.1"]
  - secret: {{ $etcd }}-peer
    authority: {{ $name }}-etcd-peer-ca
    commonName: {{ $etcd }}-peer
    usages: [server auth, client auth]
    dnsNames:
      {{- include "kcp.etcdHosts" (list $ .etcd .store.etcd.replicas) | nindent 6 }}
    ipAddresses: ["0.0.0.0", "127.0.0.1"]
  - secret: {{ $name }}-{{ .name }}-etcd-client
    authority: {{ $name }}-etcd-ca
    commonName: {{ $name }}-{{ .name }}
    usages: [client auth]
  {{- end }}
  {{- end }}
{{- end }}

{{- /* The names of an etcd's members: (list $ "etcd-root" replicas). */}}
{{- define "kcp.etcdHosts" -}}
{{- $root := index . 0 }}
{{- $name := printf "%s-%s" (include "kcp.fullname" $root) (index . 1) }}
{{- range $at := until (int (index . 2)) }}
- {{ $name }}-{{ $at }}
- {{ $name }}-{{ $at }}.{{ $name }}
- {{ $name }}-{{ $at }}.{{ $name }}.{{ $root.Release.Namespace }}.svc
- {{ $name }}-{{ $at }}.{{ $name }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}
{{- end }}
{{- end }}
