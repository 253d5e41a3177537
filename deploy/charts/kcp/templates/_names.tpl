{{- define "kcp.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 39 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 39 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 39 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Of a part: (dict "root" $ "component" "shard" "instance" "root"). */}}
{{- define "kcp.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .instance }}
kcp.io/part-of-shard: {{ . }}
{{- end }}
{{- end }}

{{- define "kcp.labels" -}}
{{ include "kcp.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kcp
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "kcp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "kcp.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "kcp.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .version .image.tag }}
{{- end }}
{{- end }}

{{- /* A service's name as others dial it: (list $ "front-proxy"). */}}
{{- define "kcp.host" -}}
{{- $root := index . 0 -}}
{{ include "kcp.fullname" $root }}-{{ index . 1 }}.{{ $root.Release.Namespace }}.svc
{{- end }}

{{- /* Every name of a service, as a YAML list: (list $ "front-proxy"). */}}
{{- define "kcp.hosts" -}}
{{- $root := index . 0 }}
{{- $short := printf "%s-%s" (include "kcp.fullname" $root) (index . 1) }}
- {{ $short }}
- {{ $short }}.{{ $root.Release.Namespace }}
- {{ $short }}.{{ $root.Release.Namespace }}.svc
- {{ $short }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}
{{- end }}

{{- define "kcp.externalURL" -}}
https://{{ required "externalHostname: the host name by which clients reach the front-proxy is required" .Values.externalHostname }}:{{ .Values.externalPort }}
{{- end }}

{{- /* One shard with its defaults, as YAML: (list $ $shard). */}}
{{- define "kcp.shard" -}}
{{- $root := index . 0 }}
{{- $shard := mergeOverwrite (deepCopy $root.Values.shardDefaults) (deepCopy (index . 1)) }}
{{- if eq $shard.store.type "embedded" }}
{{- $_ := set $shard "replicas" 1 }}
{{- end }}
{{- toYaml $shard }}
{{- end }}

{{- /* What does not fit together is said when rendering. */}}
{{- define "kcp.check" -}}
{{- $names := list }}
{{- $stores := list }}
{{- range $at, $entry := .Values.shards }}
{{- $shard := include "kcp.shard" (list $ $entry) | fromYaml }}
{{- if and (eq $at 0) (ne $shard.name "root") }}
{{- fail "shards: the first shard must be called root" }}
{{- end }}
{{- if eq $shard.name "cache" }}
{{- fail "shards: cache is the name of the cache server's parts" }}
{{- end }}
{{- if has $shard.name $names }}
{{- fail (printf "shards: %s is there twice" $shard.name) }}
{{- end }}
{{- $names = append $names $shard.name }}
{{- /* Names of services may have 63 characters, those of StatefulSets 52, so that their pods' labels fit. */}}
{{- $room := sub 43 (len (include "kcp.fullname" $)) }}
{{- if gt (len $shard.name) (int $room) }}
{{- fail (printf "shards: %s is too long beside the release's name, at most %d characters fit" $shard.name $room) }}
{{- end }}
{{- if eq $shard.store.type "external" }}
{{- $store := printf "%s %s" (join "," $shard.store.external.endpoints) $shard.store.external.prefix }}
{{- if has $store $stores }}
{{- fail (printf "shards: %s shares its etcd and prefix with another shard" $shard.name) }}
{{- end }}
{{- $stores = append $stores $store }}
{{- end }}
{{- end }}
{{- if and (gt (len $names) 1) (not .Values.cacheServer.enabled) }}
{{- fail "cacheServer.enabled: more than one shard needs the cache server" }}
{{- end }}
{{- end }}
