//! Which shard something new is put on (kcp's facts, D.3): one that lives, that nobody has closed for new work and that the
//! selector matches; of two such taken by chance, the one that holds less. Two choices keep the shards level as well as the
//! least loaded would, and many that choose at once, all by an index that is a moment old, do not fall upon the same one.

use machinery::selector::LabelSelector;
use plan::Member;
use serde_json::Value;

/// kcp's text.
const NONE: &str = "No available shards to schedule the workspace";

/// A shard for something new. `selector` is `spec.location.selector`; none, or an empty one, matches all.
pub(crate) fn choose(members: Vec<Member>, selector: Option<&Value>, seed: &[u8; 32]) -> Result<Member, String> {
    let selector = match selector.filter(|selector| !selector.is_null()) {
        None => LabelSelector::everything(),
        some => LabelSelector::from_json(some).map_err(|why| format!("spec.location.selector is invalid: {why}"))?,
    };
    let fits = |member: &Member| {
        let label = |key: &str| member.labels.get(key).map(String::as_str);
        member.is_schedulable && selector.matches(label)
    };
    let (mut live, dead): (Vec<Member>, Vec<Member>) =
        members.into_iter().filter(fits).partition(|member| member.is_live);
    if live.is_empty() && !dead.is_empty() {
        let names: Vec<&str> = dead.iter().map(|member| member.name.as_str()).collect();
        return Err(format!("{NONE}: {} cannot be reached", names.join(", ")));
    }
    let first = take(&mut live, seed, 24).ok_or(NONE)?;
    Ok(match take(&mut live, seed, 28) {
        Some(second) if second.load < first.load => second,
        _ => first,
    })
}

/// The shard that was chosen earlier.
pub(crate) fn chosen(members: Vec<Member>, name: &str) -> Result<Member, String> {
    let Some(found) = members.into_iter().find(|member| member.name == name) else {
        return Err(format!("chosen shard {name:?} does not exist anymore"));
    };
    match found.is_live {
        true => Ok(found),
        false => Err(format!("chosen shard {name:?} cannot be reached")),
    }
}

/// Any of them, by four bytes of the seed.
fn take(members: &mut Vec<Member>, seed: &[u8; 32], at: usize) -> Option<Member> {
    if members.is_empty() {
        return None;
    }
    let bytes = seed.iter().skip(at).take(4);
    let random = bytes.fold(0, |sum: usize, byte| (sum << 8) | usize::from(*byte));
    Some(members.swap_remove(random % members.len()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn member(name: &str, load: usize) -> Member {
        Member {
            name: name.to_owned(),
            labels: BTreeMap::from([("name".to_owned(), name.to_owned())]),
            external_url: String::new(),
            is_schedulable: true,
            is_live: true,
            load,
        }
    }

    fn seeds() -> impl Iterator<Item = [u8; 32]> {
        (0..=255).map(|byte: u8| {
            let mut seed = [0; 32];
            seed[27] = byte;
            seed[31] = byte.rotate_left(3);
            seed
        })
    }

    fn names(members: &[Member], selector: Option<Value>) -> Vec<String> {
        let chosen = seeds().map(|seed| choose(members.to_vec(), selector.as_ref(), &seed).unwrap().name);
        let distinct: std::collections::BTreeSet<String> = chosen.collect();
        distinct.into_iter().collect()
    }

    #[test]
    fn of_two_the_one_that_holds_less() {
        assert_eq!(names(&[member("a", 5), member("b", 4)], None), ["b"]);
        assert_eq!(names(&[member("a", 4), member("b", 4)], None), ["a", "b"], "by chance");
        let three = [member("a", 9), member("b", 4), member("c", 5)];
        assert_eq!(names(&three, None), ["b", "c"], "the fullest never wins");
    }

    #[test]
    fn the_dead_the_closed_and_the_others_get_nothing() {
        let dead = Member {
            is_live: false,
            ..member("dead", 0)
        };
        let closed = Member {
            is_schedulable: false,
            ..member("closed", 0)
        };
        assert_eq!(names(&[dead.clone(), closed.clone(), member("a", 7)], None), ["a"]);
        let selector = json!({"matchLabels": {"name": "b"}});
        let members = [member("a", 0), member("b", 7)];
        assert_eq!(names(&members, Some(selector.clone())), ["b"]);
        assert_eq!(names(&members, Some(json!({}))), ["a"]);
        let refused = |members: Vec<Member>, selector: &Value| choose(members, Some(selector), &[0; 32]).unwrap_err();
        assert_eq!(refused(vec![member("a", 0)], &selector), NONE);
        assert_eq!(refused(vec![closed], &json!({})), NONE);
        assert_eq!(
            refused(vec![dead], &json!({})),
            format!("{NONE}: dead cannot be reached")
        );
        let wrong = json!({"matchExpressions": [{"key": "name", "operator": "Like", "values": ["a"]}]});
        assert!(refused(vec![member("a", 0)], &wrong).starts_with("spec.location.selector is invalid: "));
    }

    #[test]
    fn what_was_chosen_stays_chosen() {
        let closed = Member {
            is_schedulable: false,
            ..member("a", 0)
        };
        assert_eq!(chosen(vec![closed], "a").unwrap().name, "a");
        assert!(
            chosen(vec![member("a", 0)], "b")
                .unwrap_err()
                .contains("does not exist anymore")
        );
    }
}
