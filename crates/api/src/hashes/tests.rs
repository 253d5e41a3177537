use super::*;

#[test]
fn base36_follows_kcps_vectors() {
    let padded = |text: &str| base36_padded(&Sha224::digest(text));
    assert_eq!(padded(""), "2n6a5vwpk9ckyxi5x87i7768t4bpqmp64qi0556ih35b");
    assert_eq!(padded("hello"), "2yfg0ibsewngbzapgs5fesiord507vsncfiw4jd5c2oj");
    assert_eq!(padded("input50"), "04xtfzmllsov5334t8xolbc31qfgtl44oza013n6uzk");
}

#[test]
fn base62_follows_kcps_vectors() {
    assert_eq!(base62(&Sha224::digest("")), "aAkHCkvjglfF66mdhRcVKb0I3FT1lepYlWZNwj");
    assert_eq!(
        base62(&Sha224::digest("hello")),
        "bPWFAjMdldrWYheSsV0t7VkdTNtgGHBplr6qLF"
    );
    let fixed: Vec<u8> = (0..28).map(|i| i % 10).collect();
    assert_eq!(base62(&fixed), REFLEXIVE_CLAIM_VALUE);
}

#[test]
fn home_clusters_follow_the_user_name() {
    for (user, cluster) in [
        ("", "36ks9xj4a2n61"),
        ("alice", "v1u4alow0iv9"),
        ("bob", "2okdry95y5lkv"),
        ("user:with:colons", "2bqfj6xlthg3t"),
        ("user172", "0f9mt7goyif7"),
        ("kcp-admin", "kvdk2spgmbix"),
        ("user", "b7mkgpsbnrbl"),
    ] {
        assert_eq!(home_cluster_name(user), cluster, "{user}");
    }
}

#[test]
fn shards_hash_to_eight_characters() {
    assert_eq!(shard_hash("root"), "1pfxsevk");
    assert_eq!(shard_hash("alpha"), "221wvpxe");
}

#[test]
fn cluster_names_are_sixteen_alphanumerics() {
    for seed in 0..200u8 {
        let name = cluster_name(&[seed; 32]);
        assert_eq!(name.len(), 16);
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "{name}"
        );
    }
    assert_ne!(cluster_name(&[1; 32]), cluster_name(&[2; 32]));
}

#[test]
fn export_labels_follow_kcps_vectors() {
    let tenancy = "bmCdly9xXiUpEHe3ypvDwvXMTfoVZUE92mqAQf";
    assert_eq!(export_label("root", "tenancy.kcp.io"), tenancy);
    assert_eq!(
        export_label("abcd1234", "my-export"),
        "phGj1BkmdNY3LKTrtFc1KGLYTBs8Nt50p8PIU"
    );
    assert_eq!(
        claim_label_key("root", "tenancy.kcp.io"),
        format!("claimed.internal.apis.kcp.io/{tenancy}")
    );
    // Recorded in golden/kcp/binding and golden/kcp/root.
    assert_eq!(
        export_label("n9le6n7u073ogu2k", "example.io"),
        "1WHwWxaMSu5nargUJ2Os1vmbVluwKKvzvIL1en"
    );
    assert_eq!(
        export_label("root", "cache.kcp.io"),
        "7CHGPSoR6ORtOPisi3nSrYlvt7gmFvQ5zVCjhP"
    );
}

#[test]
fn claim_values_ignore_verbs() {
    assert_eq!(
        claim_label_value("", "configmaps", ""),
        "3QVjs6pfBjMpLEVYYhysJnroYGsQGlWm05E4qe"
    );
    assert_eq!(
        claim_label_value("apps", "deployments", "deadbeef"),
        "4CpOMiJ5JL9ZC4cG8ne7nGNQbSOEUiwZ89KHal"
    );
}

#[test]
fn lifecycle_label_keys_fill_63_characters() {
    let universal = initializer_label("root:universal");
    assert_eq!(
        universal.key,
        "initializer.internal.kcp.io/d1d6459a03641b6fd7560fc2849f6c66fa9"
    );
    assert_eq!(
        universal.value,
        "d1d6459a03641b6fd7560fc2849f6c66fa971a0afeded6ba2d2743f2"
    );
    let bindings = initializer_label("system:apibindings");
    assert_eq!(
        bindings.key,
        "initializer.internal.kcp.io/dd58c810629ccc3e49c7d8225b9bcfaa42a"
    );
    assert_eq!(
        bindings.value,
        "dd58c810629ccc3e49c7d8225b9bcfaa42a4a2ecbb7e4a9be76614e3"
    );
    assert_eq!(universal.key.len(), 63);
    assert_eq!(terminator_label("root:universal").key.len(), 63);
}

#[test]
fn identity_is_the_hash_of_the_stored_text() {
    assert_eq!(
        identity_hash(b"xxx"),
        "cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860"
    );
}

#[test]
fn default_bindings_are_named_by_cluster_path_and_export() {
    // Recorded in golden/kcp/binding/provider-logicalcluster.json.
    let cluster = "n9le6n7u073ogu2k";
    assert_eq!(
        default_binding_name(cluster, "root", "tenancy.kcp.io"),
        "tenancy.kcp.io-1n8dy"
    );
    assert_eq!(
        default_binding_name(cluster, "root", "topology.kcp.io"),
        "topology.kcp.io-c8gye"
    );
    assert_eq!(default_binding_name(cluster, "root", &"x".repeat(300)).len(), 253);
}

#[test]
fn built_in_storage_versions_hash_as_kcps() {
    for r in crate::builtin::resources() {
        // Stored under another group, or in another version than the served one.
        let (group, version) = match (r.group.as_str(), r.plural.as_str()) {
            ("events.k8s.io", _) => ("", "v1"),
            (group, "mutatingadmissionpolicies" | "mutatingadmissionpolicybindings" | "customresourcedefinitions") => {
                (group, "v1beta1")
            }
            (group, _) => (group, r.version.as_str()),
        };
        if r.storage.is_some() {
            assert_eq!(
                storage_version_hash("", group, version, &r.kind),
                r.storage_version_hash,
                "{}",
                r.plural
            );
        }
    }
    let of = |cluster| storage_version_hash(cluster, "example.io", "v1", "Widget");
    assert_ne!(of("a1"), of("a2"));
}
