use super::*;

fn parse(method: &str, uri: &str) -> (Option<String>, String, Option<String>, bool) {
    let (parts, ()) = http::Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .unwrap()
        .into_parts();
    let path = decode_path(parts.uri.path()).unwrap();
    let target = Target::parse(&parts, &path).unwrap();
    let resource = target.info.resource.as_ref().map(|info| {
        format!(
            "{} {}/{} {}/{} {}/{}{}{}",
            info.verb.map_or("-", Verb::as_str),
            info.group,
            info.version,
            info.resource,
            info.subresource,
            info.namespace,
            info.name,
            info.identity
                .map(|identity| format!(" #{identity}"))
                .unwrap_or_default(),
            if info.has_more { " +" } else { "" },
        )
    });
    (
        target.segment.map(str::to_owned),
        target.path.to_owned(),
        resource,
        target.is_service,
    )
}

#[test]
fn takes_the_cluster_off() {
    let cases = [
        ("/clusters/root/api", Some("root"), "/api"),
        ("/clusters/root", Some("root"), "/"),
        ("/clusters/root/", Some("root"), "/"),
        ("/clusters/root:a:b/apis/x", Some("root:a:b"), "/apis/x"),
        ("/clusters/root%3Aa/api", Some("root:a"), "/api"),
        ("/clusters/*/api", Some("*"), "/api"),
        ("/clusters", None, "/clusters"),
        ("/clusters/", None, "/clusters/"),
        ("/clusters//api", None, "/clusters//api"),
        ("/api/v1", None, "/api/v1"),
    ];
    for (uri, segment, path) in cases {
        let (found, rest, _, is_service) = parse("GET", uri);
        assert_eq!(
            (found.as_deref(), rest.as_str(), is_service),
            (segment, path, false),
            "{uri}"
        );
    }
    for uri in ["/services/x/y", "/services", "/clusters/root/services/x/y"] {
        assert!(parse("GET", uri).3, "{uri}");
    }
    assert!(!parse("GET", "/servicesx").3);
}

#[test]
fn resources_are_taken_apart_as_kubernetes_does() {
    let cases = [
        ("GET", "/api/v1/namespaces", "list /v1 namespaces/ /"),
        ("GET", "/api/v1/namespaces/a", "get /v1 namespaces/ a/a"),
        ("HEAD", "/api/v1/namespaces/a", "get /v1 namespaces/ a/a"),
        (
            "PUT",
            "/api/v1/namespaces/a/finalize",
            "update /v1 namespaces/finalize a/a",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/a/status",
            "patch /v1 namespaces/status a/a",
        ),
        ("GET", "/api/v1/namespaces/a/configmaps", "list /v1 configmaps/ a/"),
        ("GET", "/api/v1/namespaces/a/configmaps/", "list /v1 configmaps/ a/"),
        (
            "GET",
            "/api/v1/namespaces/a/configmaps?watch=1",
            "watch /v1 configmaps/ a/",
        ),
        ("GET", "/api/v1/configmaps?watch=false", "list /v1 configmaps/ /"),
        ("GET", "/api/v1/configmaps?watch=0", "list /v1 configmaps/ /"),
        ("GET", "/api/v1/configmaps?watch", "watch /v1 configmaps/ /"),
        ("GET", "/api/v1/watch/configmaps", "watch /v1 configmaps/ /"),
        (
            "GET",
            "/api/v1/watch/namespaces/a/configmaps/c",
            "watch /v1 configmaps/ a/c",
        ),
        ("POST", "/apis/g.io/v1/widgets", "create g.io/v1 widgets/ /"),
        ("DELETE", "/apis/g.io/v1/widgets", "deletecollection g.io/v1 widgets/ /"),
        ("DELETE", "/apis/g.io/v1/widgets/w", "delete g.io/v1 widgets/ /w"),
        ("GET", "/apis/g.io/v1/widgets/w/scale", "get g.io/v1 widgets/scale /w"),
        (
            "GET",
            "/apis/g.io/v1/widgets/w/proxy/a/b",
            "get g.io/v1 widgets/proxy /w +",
        ),
        ("GET", "/apis/g.io/v1/widgets:abc", "list g.io/v1 widgets/ / #abc"),
        (
            "GET",
            "/apis/g.io/v1/namespaces/n/widgets:abc/w",
            "get g.io/v1 widgets/ n/w #abc",
        ),
        (
            "GET",
            "/api/v1/configmaps?fieldSelector=metadata.name%3Dx",
            "list /v1 configmaps/ /x",
        ),
        (
            "GET",
            "/api/v1/configmaps?fieldSelector=a=b,metadata.name==x",
            "list /v1 configmaps/ /x",
        ),
        (
            "GET",
            "/api/v1/configmaps?fieldSelector=metadata.name!=x",
            "list /v1 configmaps/ /",
        ),
        (
            "GET",
            "/api/v1/configmaps?fieldSelector=metadata.name=..",
            "list /v1 configmaps/ /",
        ),
        ("OPTIONS", "/api/v1/configmaps", "- /v1 configmaps/ /"),
        ("GET", "/api/v1/namespaces/a%2Fb", "list /v1 b/ a/"),
    ];
    for (method, uri, expected) in cases {
        assert_eq!(parse(method, uri).2.as_deref(), Some(expected), "{method} {uri}");
    }
}

#[test]
fn everything_else_is_a_path() {
    for uri in [
        "/",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/g",
        "/apis/g/v1",
        "/version",
        "/openapi/v3/api/v1",
        "/apisx/a/b/c",
    ] {
        assert_eq!(parse("GET", uri).2, None, "{uri}");
    }
}

#[test]
fn refuses_what_names_nothing() {
    let refused = |uri: &str| {
        let (parts, ()) = http::Request::builder().uri(uri).body(()).unwrap().into_parts();
        let path = decode_path(parts.uri.path())?;
        Target::parse(&parts, &path).map(|_| ())
    };
    assert_eq!(refused("/clusters/root/apis/g.io/v1/widgets:").unwrap_err().code, 500);
    assert_eq!(refused("/api/v1/watch").unwrap_err().code, 400);
    assert_eq!(refused("/api/v1/a%00b").unwrap_err().code, 400);
    assert_eq!(refused("/api/v1/%ff").unwrap_err().code, 400);
}
