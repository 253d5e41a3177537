//! The commands that the chart renders are command lines of our programs.

use clap::Parser;
use deploy::{Manifests, is_built};
use front_proxy::options::ProxyOptions;
use shard::issue::IssueOptions;
use shard::options::StartOptions;

const RENDERED: [&str; 4] = ["one-shard", "one-shard-more", "two-shards", "five-shards"];

#[derive(Parser)]
enum Kcp {
    Start(Box<StartOptions>),
    Issue(IssueOptions),
}

#[derive(Parser)]
struct Proxy {
    #[command(flatten)]
    _options: ProxyOptions,
}

/// What a program's own options say of a command line. `None`: programs that are not ours, or not in this workspace yet.
fn parse(line: &[String]) -> Option<Result<(), String>> {
    let program = line.first()?.strip_prefix('/')?;
    let said = |outcome: Result<(), clap::Error>| outcome.map_err(|error| error.to_string());
    Some(match program {
        "kcp" => said(Kcp::try_parse_from(line).map(drop)),
        "kcp-front-proxy" => said(Proxy::try_parse_from(line).map(drop)),
        _ if !is_built(&line[0]) => return None,
        other => Err(format!("there is no program {other}")),
    })
}

#[test]
fn every_command_is_one_of_our_programs() {
    let mut parsed = 0;
    for name in RENDERED {
        let manifests = Manifests::rendered(name).unwrap();
        for container in manifests.containers() {
            let line: Vec<String> = container
                .command()
                .into_iter()
                .filter(|argument| is_built(argument))
                .collect();
            if line.first().is_some_and(|program| program == "etcd") {
                continue;
            }
            if let Some(outcome) = parse(&line) {
                assert_eq!(outcome, Ok(()), "{name}: {}", container.workload);
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 4 * 4, "{parsed}");
}

#[test]
fn flags_are_given_once_and_as_one_word() {
    for name in RENDERED {
        for container in Manifests::rendered(name).unwrap().containers() {
            let mut seen = std::collections::BTreeSet::new();
            let command = container.command();
            let extra = command.iter().position(|argument| argument == "--v=4");
            for argument in command
                .iter()
                .take(extra.unwrap_or(command.len()))
                .filter(|word| word.starts_with('-'))
            {
                let (flag, value) = argument.split_once('=').unwrap_or_else(|| panic!("{name}: {argument}"));
                assert!(
                    !value.is_empty() && seen.insert(flag.to_owned()),
                    "{name}: {}: {argument}",
                    container.workload
                );
            }
        }
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    let line = ["/kcp", "start", "--no-such-flag=1"].map(str::to_owned);
    assert!(parse(&line).unwrap().is_err());
}
