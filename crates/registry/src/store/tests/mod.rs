//! Rules of the pipelines, each over a real store. Names say the rule; texts are Kubernetes'.

mod apply;
mod create;
mod custom;
mod delete;
mod property;
mod read;
mod speed;
mod update;
