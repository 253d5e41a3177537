//! How long the update path takes. Run with `--release -- --ignored --nocapture speed`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

#[test]
#[ignore = "measures time"]
fn updates_of_a_config_map_of_one_kibibyte() {
    const BATCHES: u32 = 2_000;
    const BATCH: u32 = 10;
    let types = config_map_type();
    let mut data = json!({});
    for n in 0..10 {
        data[format!("key-{n}.conf")] = json!("x".repeat(70));
    }
    let mut live = config_map(data);
    live["metadata"]["labels"] = json!({"app": "x", "tier": "backend"});
    live["metadata"]["annotations"] = json!({"kcp.io/cluster": "root"});
    let fresh = live.clone();
    update(None, &mut live, &ctx(&types, "creator", T1));
    let mut data = live["data"].clone();
    data["key-0.conf"] = json!("other");
    let other = written(&live, "other", T2, data);
    let mut changed = other.clone();
    changed["data"]["key-5.conf"] = json!("changed");
    let mut without = changed.clone();
    without.meta_mut().remove("managedFields");
    let cases: [(&str, Option<&Value>, &Value); 4] = [
        ("create", None, &fresh),
        ("one key changed, fields sent", Some(&other), &changed),
        ("one key changed, fields not sent", Some(&other), &without),
        ("nothing changed", Some(&other), &other),
    ];
    for (what, live, new) in cases {
        // The best of many short batches: what the machine does besides does not count.
        let best = (0..BATCHES).map(|_| {
            let mut objects: Vec<Value> = (0..BATCH).map(|_| new.clone()).collect();
            let start = Instant::now();
            for object in &mut objects {
                update(black_box(live), object, &ctx(&types, "third", T3));
            }
            start.elapsed() / BATCH
        });
        println!(
            "{} bytes, {what}: {:?}",
            new.to_string().len(),
            best.min().unwrap_or_default()
        );
    }
}
