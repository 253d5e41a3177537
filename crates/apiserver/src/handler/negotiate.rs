//! Which representation a client wants, and which one it sends.

use std::cmp::Reverse;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use machinery::protobuf;
use machinery::status::{Result, Status};
use machinery::table::MetaVersion;

use crate::query::Query;

/// What is named where content is refused. Kubernetes' list; protobuf answers are not given to those who take nothing else.
pub(crate) const MEDIA_TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    /// Indented JSON.
    Pretty,
    Yaml,
}

/// Instead of the objects themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    Table(MetaVersion),
    /// Of lists, too.
    Metadata(MetaVersion),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub transform: Option<Transform>,
}

/// Of discovery documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryOutput {
    Plain(Format),
    /// `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
    Aggregated,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Json,
    Yaml,
    /// Read, but never written; of built-in kinds only.
    Protobuf,
}

/// One media range of an `Accept` header.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subkind: &'a str,
    params: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u16,
}

// === impl Format ===

impl Format {
    pub(crate) fn content_type(self) -> HeaderValue {
        match self {
            Self::Json | Self::Pretty => HeaderValue::from_static("application/json"),
            Self::Yaml => HeaderValue::from_static("application/yaml"),
        }
    }

    fn of_range(range: &Range<'_>) -> Option<Self> {
        match (range.kind, range.subkind) {
            ("*" | "application", "*") | ("application", "json") => Some(Self::Json),
            ("application", "yaml") => Some(Self::Yaml),
            _ => None,
        }
    }
}

// === impl Output ===

impl Output {
    /// 406 if nothing that the client takes can be made.
    pub fn negotiate(parts: &Parts, query: &Query<'_>) -> Result<Self> {
        let accept = parts
            .headers
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let mut output = match accept {
            "" | "*/*" | "application/json" | "application/json, */*" => Self::default(),
            accept => ranges(accept)
                .iter()
                .find_map(Self::of_range)
                .ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))?,
        };
        if output.format == Format::Json && wants_pretty(parts, query) {
            output.format = Format::Pretty;
        }
        Ok(output)
    }

    fn of_range(range: &Range<'_>) -> Option<Self> {
        let format = Format::of_range(range)?;
        let param = |name: &str| {
            range
                .params
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        let transform = match (param("as"), param("g"), param("v")) {
            (None, None, None) => None,
            (Some(kind), Some("meta.k8s.io"), Some(version)) => {
                let version = MetaVersion::parse(version)?;
                Some(match kind {
                    "Table" => Transform::Table(version),
                    "PartialObjectMetadata" | "PartialObjectMetadataList" => Transform::Metadata(version),
                    _ => return None,
                })
            }
            _ => return None,
        };
        // A stream of watch events is what watches give anyway; no other stream exists.
        if param("stream").is_some_and(|stream| !stream.is_empty() && stream != "watch") || param("sv").is_some() {
            return None;
        }
        let format = match (format, param("pretty")) {
            (Format::Json, Some("1")) => Format::Pretty,
            (format, _) => format,
        };
        Some(Self { format, transform })
    }
}

// === impl DiscoveryOutput ===

impl DiscoveryOutput {
    pub(crate) fn negotiate(parts: &Parts, query: &Query<'_>) -> Result<Self> {
        let accept = parts
            .headers
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let find = |range: &Range<'_>| {
            let param = |name: &str| {
                range
                    .params
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| *value)
            };
            match (Format::of_range(range)?, param("as"), param("g"), param("v")) {
                (format, None, None, None) => Some(Self::Plain(format)),
                (Format::Json, Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
                    Some(Self::Aggregated)
                }
                _ => None,
            }
        };
        let output = match accept {
            "" => Self::Plain(Format::Json),
            accept => ranges(accept)
                .iter()
                .find_map(find)
                .ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))?,
        };
        Ok(match output {
            Self::Plain(Format::Json) if wants_pretty(parts, query) => Self::Plain(Format::Pretty),
            output => output,
        })
    }
}

// === impl Input ===

impl Input {
    /// Of create, update and delete; 415 for what cannot be read. Without a `Content-Type` it is JSON.
    pub fn negotiate(parts: &Parts) -> Result<Self> {
        match media_type(parts).as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" => Ok(Self::Yaml),
            protobuf::MEDIA_TYPE => Ok(Self::Protobuf),
            _ => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }
}

/// The `Content-Type` without its parameters, in lower case.
pub(crate) fn media_type(parts: &Parts) -> String {
    let value = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `?pretty=true`, or a program that people look at.
pub(crate) fn wants_pretty(parts: &Parts, query: &Query<'_>) -> bool {
    if let Some(pretty) = query.get("pretty").filter(|value| !value.is_empty()) {
        return matches!(&*pretty, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = parts
        .headers
        .get(USER_AGENT)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    agent.starts_with(b"curl") || agent.starts_with(b"Wget") || agent.starts_with(b"Mozilla/5.0")
}

/// The ranges, best first; of equal quality the more specific, then the earlier.
fn ranges(accept: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = accept.split(',').filter_map(range).collect();
    ranges.sort_by_key(|range| {
        let specificity = u8::from(range.kind != "*") + u8::from(range.subkind != "*");
        (Reverse(range.quality), Reverse(specificity))
    });
    ranges
}

fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subkind) = parts.next()?.split_once('/').unwrap_or(("*", "*"));
    let mut range = Range {
        kind,
        subkind,
        params: Vec::new(),
        quality: 1000,
    };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim() {
            "q" => {
                let quality: f32 = value.trim().parse().unwrap_or(1.0);
                // In 0..=1000 after the clamp.
                range.quality = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
            }
            name => range.params.push((name, value.trim())),
        }
    }
    (range.quality > 0).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(accept: &str, agent: &str) -> Parts {
        let request = http::Request::builder()
            .header("accept", accept)
            .header("user-agent", agent);
        request.body(()).unwrap().into_parts().0
    }

    fn output(accept: &str) -> Result<Output, String> {
        Output::negotiate(&parts(accept, "kubectl/v1"), &Query::default()).map_err(|status| status.message)
    }

    #[test]
    fn picks_the_first_that_can_be_made() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
            application/json";
        assert_eq!(
            output(table).unwrap().transform,
            Some(Transform::Table(MetaVersion::V1))
        );
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
            application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(
            output(partial).unwrap().transform,
            Some(Transform::Metadata(MetaVersion::V1))
        );
        assert_eq!(
            output("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            Output::default()
        );
        assert_eq!(
            output("application/json;as=Table;v=v9;g=meta.k8s.io,*/*").unwrap(),
            Output::default()
        );
        assert_eq!(output("application/yaml").unwrap().format, Format::Yaml);
        assert_eq!(
            output("application/json;q=0.1,application/yaml").unwrap().format,
            Format::Yaml
        );
        assert_eq!(output("application/json;stream=watch").unwrap(), Output::default());
    }

    #[test]
    fn refuses_what_cannot_be_made() {
        let expected = "only the following media types are accepted: application/json, application/yaml, \
            application/vnd.kubernetes.protobuf";
        for accept in [
            "text/html",
            "application/vnd.kubernetes.protobuf",
            "application/json;q=0",
        ] {
            assert_eq!(output(accept).unwrap_err(), expected, "{accept}");
        }
    }

    #[test]
    fn people_get_indented_json() {
        let pretty = |agent, query| {
            Output::negotiate(&parts("*/*", agent), &Query::new(query))
                .unwrap()
                .format
        };
        assert_eq!(pretty("curl/8", ""), Format::Pretty);
        assert_eq!(pretty("curl/8", "pretty=false"), Format::Json);
        assert_eq!(pretty("kubectl", "pretty=true"), Format::Pretty);
        assert_eq!(pretty("kubectl", ""), Format::Json);
    }

    #[test]
    fn aggregated_discovery_is_given_to_those_who_ask() {
        let find = |accept| DiscoveryOutput::negotiate(&parts(accept, ""), &Query::default());
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
            application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(find(kubectl).unwrap(), DiscoveryOutput::Aggregated);
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(find(old).unwrap(), DiscoveryOutput::Plain(Format::Json));
        assert_eq!(find("text/html").unwrap_err().code, 406);
    }
}
