use std::collections::BTreeMap;
use std::path::Path;

use env::Env;

use super::*;

const LIST: &str = r#"
leafDays: 30
authorities:
  - {secret: ca, commonName: our-ca}
certificates:
  - secret: key
    commonName: key
    keep: true
  - secret: server
    authority: ca
    commonName: server
    usages: [server auth, client auth]
    dnsNames: [localhost, a.b.svc]
    ipAddresses: ["0.0.0.0"]
  - secret: client
    authority: ca
    commonName: me
    organizations: ["system:masters"]
    usages: [client auth]
"#;

async fn issued(env: &Env, directory: &Path, list: &str) -> Outcome {
    let list = List::parse(list.as_bytes()).unwrap();
    issue(env, &list, &Secrets::in_directory(env, directory)).await.unwrap()
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap().path();
        for file in std::fs::read_dir(&entry).unwrap() {
            let file = file.unwrap().path();
            files.insert(file.display().to_string(), std::fs::read(&file).unwrap());
        }
    }
    files
}

#[tokio::test]
async fn a_second_run_keeps_everything() {
    let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
    let first = issued(&env, directory.path(), LIST).await;
    assert_eq!(first.made, ["ca", "key", "server", "client"]);
    let before = files(directory.path());
    let second = issued(&env, directory.path(), LIST).await;
    assert_eq!((second.kept, second.made.len()), (4, 0));
    assert_eq!(files(directory.path()), before);
}

#[tokio::test]
async fn what_no_longer_fits_is_made_anew_and_the_rest_kept() {
    let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
    issued(&env, directory.path(), LIST).await;
    let moved = LIST
        .replace("a.b.svc", "c.d.svc")
        .replace("commonName: key", "commonName: other");
    assert_eq!(issued(&env, directory.path(), &moved).await.made, ["server"]);
    let raised = moved.replace("system:masters", "c");
    assert_eq!(issued(&env, directory.path(), &raised).await.made, ["client"]);
    // Files that do not belong together.
    std::fs::copy(
        directory.path().join("client/tls.key"),
        directory.path().join("server/tls.key"),
    )
    .unwrap();
    assert_eq!(issued(&env, directory.path(), &raised).await.made, ["server"]);
    // A new authority signs everything that the old one signed.
    std::fs::remove_file(directory.path().join("ca/tls.key")).unwrap();
    assert_eq!(
        issued(&env, directory.path(), &raised).await.made,
        ["ca", "server", "client"]
    );
}

#[test]
fn leaves_are_renewed_after_two_thirds_of_their_life_and_authorities_at_its_end() {
    const DAY: i64 = 24 * 3600;
    let list = List::parse(LIST.as_bytes()).unwrap();
    let now = 1_790_000_000;
    let ca = Issued::make(&list.wanted[0], None, now).unwrap();
    let server = Issued::make(&list.wanted[2], Some(&ca), now).unwrap();
    let why = |at: i64| server.why_not(&list.wanted[2], Some(&ca), at);
    assert_eq!(why(now + 19 * DAY), None);
    assert_eq!(why(now + 21 * DAY).as_deref(), Some("it is near its end"));
    assert_eq!(ca.why_not(&list.wanted[0], None, now + 3649 * DAY), None);
    assert!(ca.why_not(&list.wanted[0], None, now + 3651 * DAY).is_some());
    let key = Issued::make(&list.wanted[1], None, now).unwrap();
    assert_eq!(key.why_not(&list.wanted[1], None, now + 9999 * DAY), None);
}

#[test]
fn what_is_wrong_with_a_list_is_said() {
    let why = |text: &str| List::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(why("{}").contains("neither"));
    assert!(why("authorities: [{secret: a, commonName: a}, {secret: a, commonName: b}]").contains("twice"));
    assert!(why("certificates: [{secret: ../a, commonName: a}]").contains("no name"));
    assert!(why("certificates: [{secret: a, commonName: a, usages: [any]}]").contains("not known"));
    assert!(why("certificates: [{secret: a, commonName: a, organizations: [a, b]}]").contains("more than one"));
    assert!(why("leafDays: -1").contains("number of days"));
}
