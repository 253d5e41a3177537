use super::*;
use crate::Env;
use std::io::ErrorKind;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn two_hosts(options: SimOptions) -> (World, Host, Host) {
    let world = World::new(1, options);
    let (a, b) = (world.host("a"), world.host("b"));
    (world, a, b)
}

#[tokio::test(start_paused = true)]
async fn time_jumps_when_idle_and_wall_time_can_be_moved() {
    let (env, host) = Env::simulated(1, SimOptions::default());
    let start = env.clock.now();
    env.clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(env.clock.now() - start, Duration::from_secs(3600));
    host.clock_back(Duration::from_secs(7200));
    assert!(env.clock.now() < start);
    assert_eq!(env.clock.monotonic(), Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn power_loss_keeps_what_was_synced_and_may_forget_the_rest() {
    let mut lost = 0;
    for seed in 0..50 {
        let (env, host) = Env::simulated(seed, SimOptions::default());
        let file = env.disk.open(Path::new("f")).unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[2; 4096]).unwrap();
        file.write_at(4096, &[3; 4096]).unwrap();
        host.crash(Crash::Power);
        assert!(file.len().is_err(), "an old handle is dead");
        assert!(env.disk.read(Path::new("f")).is_err(), "an old env is dead");
        let bytes = host.env().disk.read(Path::new("f")).unwrap();
        assert!(bytes[..4096].iter().all(|byte| *byte == 1 || *byte == 2));
        lost += usize::from(bytes[..4096].contains(&1));
    }
    assert!((10..50).contains(&lost), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_never_synced_is_gone() {
    let (env, host) = Env::simulated(3, SimOptions::default());
    env.disk.open(Path::new("d/f")).unwrap().write_at(0, b"x").unwrap();
    env.disk.write_atomic(Path::new("d/g"), b"y").unwrap();
    assert_eq!(env.disk.list(Path::new("d")).unwrap(), ["f", "g"]);
    host.crash(Crash::Power);
    assert_eq!(host.env().disk.list(Path::new("d")).unwrap(), ["g"]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_loses_no_written_bytes() {
    let (env, host) = Env::simulated(4, SimOptions::default());
    env.disk.open(Path::new("f")).unwrap().write_at(0, b"x").unwrap();
    host.crash(Crash::Process);
    assert_eq!(host.env().disk.read(Path::new("f")).unwrap(), b"x");
}

#[tokio::test(start_paused = true)]
async fn blocking_work_pays_for_its_syncs() {
    let (env, _host) = Env::simulated(5, SimOptions::default());
    let file = env.disk.open(Path::new("f")).unwrap();
    env.spawn
        .blocking(move || (0..3).for_each(|_| file.sync().unwrap()))
        .await;
    assert_eq!(env.clock.monotonic(), Duration::from_millis(15));
}

#[tokio::test(start_paused = true)]
async fn disk_fills_fails_and_dies_on_request() {
    let (env, host) = Env::simulated(
        6,
        SimOptions {
            disk_capacity: 8192,
            ..SimOptions::default()
        },
    );
    let file = env.disk.open(Path::new("f")).unwrap();
    file.write_at(0, &[0; 10]).unwrap();
    file.set_len(1_000_000).unwrap();
    assert_eq!(
        env.disk.free_space(Path::new("f")).unwrap(),
        4096,
        "holes take no space"
    );
    file.write_at(500_000, &[0; 10]).unwrap();
    assert_eq!(
        file.write_at(4090, &[0; 10]).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    file.write_at(0, &[1; 10]).unwrap();
    host.disk().set_error_rate(1.0);
    assert!(file.sync().is_err());
    host.disk().set_error_rate(0.0);
    host.disk().power_loss_after(2);
    file.write_at(0, &[2; 1]).unwrap();
    assert!(file.sync().is_err());
    assert!(file.len().is_err() && host.disk().is_powered_off());
    host.crash(Crash::Process);
    assert!(
        host.env().disk.list(Path::new("")).unwrap().is_empty(),
        "the failed sync may not have named the file"
    );
}

#[tokio::test(start_paused = true)]
async fn lock_lasts_until_drop_or_crash() {
    let (env, host) = Env::simulated(7, SimOptions::default());
    let open = |env: &Env| env.disk.open(Path::new("f")).unwrap();
    let first = open(&env);
    assert!(first.try_lock().unwrap() && first.try_lock().unwrap());
    assert!(!open(&env).try_lock().unwrap());
    drop(first);
    let second = open(&env);
    assert!(second.try_lock().unwrap());
    host.crash(Crash::Process);
    let third = open(&host.env());
    assert!(third.try_lock().unwrap());
    drop(second);
    assert!(!open(&host.env()).try_lock().unwrap(), "a dead holder frees nothing");
}

#[tokio::test(start_paused = true)]
async fn network_carries_in_order_and_ends() {
    let (_, a, b) = two_hosts(SimOptions {
        loss_rate: 0.3,
        ..SimOptions::default()
    });
    let listener = b.env().net.listen("0.0.0.0:80").await.unwrap();
    assert_eq!(listener.address(), "b:80");
    let sender = a.env().spawn.spawn("sender", {
        let net = a.env().net;
        async move {
            let mut stream = net.dial("b:80").await.unwrap();
            for number in 0..100_000u32 {
                stream.write_all(&number.to_le_bytes()).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        }
    });
    let mut stream = listener.accept().await.unwrap().stream;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let numbers = bytes
        .chunks_exact(4)
        .map(|four| u32::from_le_bytes(four.try_into().unwrap()));
    assert!(numbers.eq(0..100_000));
    sender.join().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn partition_holds_bytes_until_healed() {
    let (world, a, b) = two_hosts(SimOptions::default());
    let listener = b.env().net.listen(":80").await.unwrap();
    let (near, accepted) = tokio::join!(async { a.env().net.dial("b:80").await }, listener.accept());
    let (mut near, mut far) = (near.unwrap(), accepted.unwrap().stream);
    world.network().partition("a", "b");
    near.write_all(b"x").await.unwrap();
    let clock = a.env().clock;
    assert!(clock.timeout(Duration::from_secs(60), far.read_u8()).await.is_err());
    assert_eq!(
        a.env().net.dial("b:80").await.err().unwrap().kind(),
        ErrorKind::TimedOut
    );
    world.network().heal();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
    assert_eq!(world.faults().of("net/partition"), 2);
}

#[tokio::test(start_paused = true)]
async fn crash_resets_connections_and_frees_the_address() {
    let (world, a, b) = two_hosts(SimOptions::default());
    let env = b.env();
    let listener = env.net.listen(":80").await.unwrap();
    let server = env.spawn.spawn("server", async move {
        let accepted = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
        drop(accepted);
    });
    let mut near = a.env().net.dial("b:80").await.unwrap();
    b.crash(Crash::Process);
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(server.join().await.is_err());
    assert_eq!(
        a.env().net.dial("b:80").await.err().unwrap().kind(),
        ErrorKind::ConnectionRefused
    );
    assert!(env.net.listen(":80").await.is_err(), "an old env is dead");
    assert!(b.env().net.listen(":80").await.is_ok());
    drop(near);
    assert_eq!(world.network().connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn same_seed_same_world() {
    async fn run(seed: u64) -> (u64, std::time::Duration) {
        let world = World::new(
            seed,
            SimOptions {
                loss_rate: 0.1,
                ..SimOptions::default()
            },
        );
        let (a, b) = (world.host("a"), world.host("b"));
        let listener = b.env().net.listen(":80").await.unwrap();
        let (near, accepted) = tokio::join!(async { a.env().net.dial("b:80").await }, listener.accept());
        let (mut near, mut far) = (near.unwrap(), accepted.unwrap().stream);
        let clock = a.env().clock;
        for byte in 0..100 {
            near.write_u8(byte).await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), byte);
        }
        (world.faults().of("net/chunk lost"), clock.monotonic())
    }
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}
