//! What one run used is free for the next: a server that has ended keeps nothing.

use std::sync::Arc;

use sim::image::Image;
use sim::run::runtime;
use sim::scene::Scene;
use sim::server::ServerOptions;

#[test]
fn a_server_that_has_ended_is_freed() {
    let image = runtime().block_on(Image::make()).unwrap();
    runtime().block_on(async {
        let mut scene = Scene::new(1, &image);
        let reaper = scene.start(ServerOptions::default()).await.unwrap();
        let (server, kv) = {
            let server = scene.site.server().unwrap();
            (Arc::downgrade(&server), Arc::downgrade(&server.kv))
        };
        reaper.end(sim::keeper::End::Crash(env::simulated::Crash::Process));
        scene
            .until("the next life", || server.strong_count() == 0)
            .await
            .unwrap();
        scene
            .until("the store is freed", || kv.strong_count() == 0)
            .await
            .unwrap();
    });
}
