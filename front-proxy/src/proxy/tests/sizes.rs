use super::*;

/// It is moved several times until it runs, and the room stays as long as the answer does: a watch, for hours.
#[tokio::test(start_paused = true)]
async fn a_request_takes_little_room_before_it_is_worked_on() {
    let (env, _host) = Env::simulated(7, SimOptions::default());
    let proxy = proxy(&env, "[]", vec![Arc::new(Jane)]);
    let connection = Connection::plain("1.2.3.4:5");
    let request = Request::get("/clusters/root/x")
        .body(RequestBody::Full(Bytes::new()))
        .unwrap();
    let bytes = size_of_val(&proxy.serve(request, &connection));
    assert!(bytes <= 6 * 1024, "{bytes} bytes");
}
