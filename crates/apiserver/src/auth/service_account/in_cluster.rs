//! Clients that know no logical clusters: what they mean is in their token.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use permit::Cluster;
use serde_json::Value;

use crate::auth::jwt::Unverified;

/// Set by peers that have resolved the cluster already.
const SHARDED_REQUEST: &str = "x-kubernetes-sharded-request";

/// The path of a request as it would be with a cluster, if it has none and its bearer token names one (kcp: requests of
/// "in-cluster" clients, which cannot be given a URL with a path). `path` is decoded.
///
/// Nothing of the token is verified here: it decides where the request goes, not whether it may.
pub fn in_cluster_path(path: &str, headers: &HeaderMap) -> Option<String> {
    if path.starts_with("/clusters/") || path.starts_with("/services/") || headers.contains_key(SHARDED_REQUEST) {
        return None;
    }
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let cluster = claimed_cluster(token)?;
    Some(format!("/clusters/{cluster}{path}"))
}

/// The cluster that a service account's token claims to be of. Not verified.
pub fn claimed_cluster(token: &str) -> Option<Cluster> {
    let claims = Unverified::parse(token)?.claims;
    let bound = claims
        .get("kubernetes.io")
        .and_then(|private| private.get("clusterName"));
    let claimed = bound.or_else(|| claims.get("kubernetes.io/serviceaccount/clusterName"));
    Cluster::parse(claimed.and_then(Value::as_str)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::jwt;
    use crate::auth::service_account::{AccountRef, SigningKey};

    fn headers(claims: &Value) -> HeaderMap {
        let (key, _) = SigningKey::generate().unwrap();
        let token = jwt::sign(claims, &key).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers
    }

    fn account() -> AccountRef {
        AccountRef {
            cluster: "abc".to_owned(),
            ..AccountRef::default()
        }
    }

    #[test]
    fn tokens_say_which_cluster_is_meant() {
        for claims in [account().bound_claims(None), account().legacy_claims("s")] {
            let path = in_cluster_path("/api/v1/namespaces", &headers(&claims));
            assert_eq!(path.as_deref(), Some("/clusters/abc/api/v1/namespaces"));
        }
    }

    #[test]
    fn paths_that_say_it_themselves_stay() {
        let mut headers = headers(&account().bound_claims(None));
        for path in ["/clusters/root/api", "/services/apiexport/x"] {
            assert_eq!(in_cluster_path(path, &headers), None);
        }
        headers.insert(SHARDED_REQUEST, "1".parse().unwrap());
        assert_eq!(in_cluster_path("/api", &headers), None);
    }

    #[test]
    fn a_claim_cannot_lead_elsewhere() {
        for name in ["", "*", "../x", "a/b", "root:org"] {
            let claims = json!({"kubernetes.io": {"clusterName": name}});
            assert_eq!(in_cluster_path("/api", &headers(&claims)), None, "{name}");
        }
        assert_eq!(in_cluster_path("/api", &headers(&json!({}))), None);
    }
}
