use super::*;

const ONE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\nextra: kept\nclusters:\n- name: a\n  cluster:\n    \
                   server: https://h\n    certificate-authority: ca.crt\n    novel: {x: 1}\ncontexts:\n- name: a\n  context: \
                   {cluster: a, user: u}\n";
const TWO: &str = "clusters:\n- name: a\n  cluster: {server: https://other}\n- name: b\n  cluster: {server: https://b}\n\
                   users:\n- name: u\n  user: {token: secret}\n";

fn both() -> Kubeconfig {
    let file = |path: &str, text: &str| (PathBuf::from(path), Some(text.as_bytes().to_vec()));
    let absent = (PathBuf::from("/none"), None);
    Kubeconfig::parse(vec![absent, file("/x/one", ONE), file("/y/two", TWO)]).expect("valid")
}

#[test]
fn the_first_file_wins_and_paths_are_of_their_file() {
    let config = both();
    let cluster = config.get(Section::Clusters, "a").expect("known");
    assert_eq!(cluster["server"], "https://h");
    assert_eq!(cluster["certificate-authority"], "/x/ca.crt");
    assert_eq!(config.get(Section::Users, "u").expect("known")["token"], "secret");
    assert_eq!(config.current_context(), "a");
    assert!(!config.has(Section::Users, "nobody"));
}

#[test]
fn changes_go_where_entries_stand_and_keep_the_unknown() {
    let mut config = both();
    config.set(Section::Clusters, "b", json!({"server": "https://c"}));
    let changes = config.changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].0, Path::new("/y/two"));

    config.set(Section::Contexts, "new", json!({"cluster": "b"}));
    config.set_current_context("new");
    let changes = config.changes();
    assert_eq!(changes.len(), 2);
    let one = machinery::yaml::decode_value(changes[0].1.as_bytes()).expect("valid");
    assert_eq!(one["extra"], "kept");
    assert_eq!(one["clusters"][0]["cluster"]["novel"], json!({"x": 1}));
    assert_eq!(one["clusters"][0]["cluster"]["certificate-authority"], "ca.crt");
    assert_eq!(one["current-context"], "new");
    assert_eq!(one["contexts"][1]["name"], "new");
}

#[test]
fn without_any_file_the_first_named_is_made() {
    let mut config = Kubeconfig::parse(vec![(PathBuf::from("/a"), None), (PathBuf::from("/b"), None)]).expect("valid");
    assert_eq!(config.current_context(), "");
    config.set_current_context("x");
    assert_eq!(config.changes()[0].0, Path::new("/a"));
}

#[test]
fn sources_are_the_flag_the_variable_then_home() {
    let mut sources = Sources {
        explicit: Some("/e".into()),
        listed: Some("/l:/m".into()),
        home: Some("/h".into()),
    };
    assert_eq!(sources.candidates(), [PathBuf::from("/e")]);
    sources.explicit = None;
    assert_eq!(sources.candidates(), [PathBuf::from("/l"), PathBuf::from("/m")]);
    sources.listed = Some(String::new());
    assert_eq!(sources.candidates(), [PathBuf::from("/h/.kube/config")]);
}

#[test]
fn refuses_what_is_no_kubeconfig() {
    let read = |text: &str| Kubeconfig::parse(vec![("/a".into(), Some(text.as_bytes().to_vec()))]);
    assert!(read("- a\n").is_err());
    assert!(read("a: [\n").is_err());
}
