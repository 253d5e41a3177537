//! The mapping file: which paths go to which server, and as whom the proxy goes there (kcp's facts, H.1).

use std::path::PathBuf;

use machinery::object::ObjectExt;
use serde_json::Value;

use crate::identity::IdentityHeaders;

/// One entry of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// A prefix of paths; `{cluster}` stands for one segment. `/clusters/` is the way to the shards.
    pub path: String,
    /// URL of the server; of `/clusters/` it means nothing.
    pub backend: String,
    pub backend_server_ca: PathBuf,
    pub proxy_client_cert: PathBuf,
    pub proxy_client_key: PathBuf,
    pub headers: IdentityHeaders,
}

/// Entries in the order in which they are tried: longest path first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mappings(Vec<Mapping>);

/// The path by which clusters are reached.
pub const CLUSTERS: &str = "/clusters/";

// === impl Mappings ===

impl Mappings {
    /// # Errors
    /// In one sentence, what is wrong with the file.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let value = machinery::yaml::decode_value(text).map_err(|error| error.to_string())?;
        let entries = value.as_array().ok_or("it must be a list of mappings")?;
        let mut mappings = entries.iter().map(Mapping::parse).collect::<Result<Vec<_>, _>>()?;
        mappings.sort_by(|a, b| (b.path.len(), &a.path).cmp(&(a.path.len(), &b.path)));
        if let Some(pair) = mappings.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(format!("path {:?} is mapped twice", pair[0].path));
        }
        Ok(Self(mappings))
    }

    /// The way to the shards, if there is one.
    pub fn clusters(&self) -> Option<(usize, &Mapping)> {
        self.iter().find(|(_, mapping)| mapping.path == CLUSTERS)
    }

    /// What a path goes to, by number, and the cluster that the mapping's placeholder stands for in it.
    pub fn find<'p>(&self, path: &'p str) -> Option<(usize, &Mapping, Option<&'p str>)> {
        self.iter().find_map(|(at, mapping)| {
            let cluster = mapping.matches(path)?;
            Some((at, mapping, cluster))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Mapping)> {
        self.0.iter().enumerate()
    }
}

// === impl Mapping ===

impl Mapping {
    fn parse(entry: &Value) -> Result<Self, String> {
        let text = |field: &str| entry.str_at(&[field]).unwrap_or_default().to_owned();
        let path = text("path");
        if !path.starts_with('/') {
            return Err(format!("path {path:?} must begin with /"));
        }
        let mut headers = IdentityHeaders::default();
        for (field, header) in [
            ("user_header", &mut headers.user),
            ("group_header", &mut headers.group),
            ("extra_header_prefix", &mut headers.extra_prefix),
        ] {
            if let Some(name) = entry.str_at(&[field]).filter(|name| !name.is_empty()) {
                name.clone_into(header);
            }
        }
        Ok(Self {
            path,
            backend: text("backend"),
            backend_server_ca: text("backend_server_ca").into(),
            proxy_client_cert: text("proxy_client_cert").into(),
            proxy_client_key: text("proxy_client_key").into(),
            headers,
        })
    }

    /// As Go's mux: a path with a trailing slash is a prefix, another one is that path alone. `Some(None)`: it matches
    /// without naming a cluster.
    fn matches<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        let Some((before, after)) = self.path.split_once("{cluster}") else {
            let is_match = match self.path.ends_with('/') {
                true => path.starts_with(&self.path) || Some(path) == self.path.strip_suffix('/'),
                false => path == self.path,
            };
            return is_match.then_some(None);
        };
        let rest = path.strip_prefix(before)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (cluster, rest) = rest.split_at(end);
        let is_match = match after.ends_with('/') {
            true => rest.starts_with(after) || Some(rest) == after.strip_suffix('/'),
            false => rest == after,
        };
        (is_match && !cluster.is_empty()).then_some(Some(cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
- path: /clusters/
  backend: https://localhost:6444
  backend_server_ca: ca.crt
  proxy_client_cert: proxy.crt
  proxy_client_key: proxy.key
- path: /services/
  backend: https://localhost:6445
- path: /services/own/clusters/{cluster}/
  backend: https://localhost:6446
  user_header: X-Mine
- path: /exact
  backend: https://localhost:6447
";

    #[test]
    fn longest_path_wins() {
        let mappings = Mappings::parse(FILE.as_bytes()).unwrap();
        let to = |path: &'static str| {
            let found = mappings.find(path);
            found.map(|(_, found, cluster)| (found.backend.clone(), cluster))
        };
        let port = |port: u16| format!("https://localhost:{port}");
        assert_eq!(to("/clusters/root/api"), Some((port(6444), None)));
        assert_eq!(to("/services/apiexport/x"), Some((port(6445), None)));
        assert_eq!(
            to("/services/own/clusters/root:a/api"),
            Some((port(6446), Some("root:a")))
        );
        assert_eq!(to("/services/own/clusters//api"), Some((port(6445), None)));
        assert_eq!(to("/exact"), Some((port(6447), None)));
        assert_eq!(to("/exact/more"), None);
        assert_eq!(to("/"), None);
        assert_eq!(
            mappings.clusters().unwrap().1.proxy_client_cert,
            PathBuf::from("proxy.crt")
        );
        assert_eq!(
            mappings.find("/services/own/clusters/a/").unwrap().1.headers.user,
            "X-Mine"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(Mappings::parse(b"path: /x").unwrap_err().contains("list"));
        assert!(Mappings::parse(b"- path: x").unwrap_err().contains("must begin"));
        assert!(
            Mappings::parse(b"- path: /x\n- path: /x")
                .unwrap_err()
                .contains("twice")
        );
    }
}
