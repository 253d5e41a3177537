//! The suite over the model and over the embedded store.
#![allow(missing_docs)]

use std::sync::Arc;

use env::Env;
use env::simulated::SimOptions;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use kv::model::ModelKv;
use storage::testing::{Bench, suite};

#[tokio::test(start_paused = true)]
async fn every_rule_holds_over_the_model() {
    suite::run(|| async {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        Bench::new(&env, Arc::new(ModelKv::new(&env)))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_rule_holds_over_the_embedded_store() {
    suite::run(|| async {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let kv = EmbeddedKv::open(&env, EmbeddedOptions::new("/data"))
            .await
            .expect("opens");
        Bench::new(&env, Arc::new(kv))
    })
    .await;
}
