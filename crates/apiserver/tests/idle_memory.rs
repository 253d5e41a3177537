//! What the allocator keeps for a thread, in a program of its own: it has one allocator.
#![forbid(unsafe_code)]

use std::time::Duration;

use env::Env;

#[global_allocator]
static ALLOCATOR: allocator::Jemalloc = allocator::Jemalloc;

/// Bytes that little else has as many of.
type Piece = [u8; 448];

fn place(piece: &Piece) -> usize {
    std::ptr::from_ref(piece).addr()
}

/// Makes pieces and frees them, the one at the highest address last. Answers the lowest and the highest address.
fn freed() -> (usize, usize) {
    let mut pieces: Vec<Box<Piece>> = (0..8).map(|_| Box::new([1; 448])).collect();
    pieces.sort_by_key(|piece| place(piece));
    let ends = (place(&pieces[0]), place(&pieces[7]));
    pieces.into_iter().for_each(drop);
    ends
}

/// Where the next piece is: a thread that keeps pieces takes what it freed last; from what all threads share it is the lowest.
fn next() -> usize {
    place(&Box::new([2; 448]))
}

#[test]
fn a_thread_gives_its_pieces_back() {
    let (_, highest) = freed();
    assert_eq!(next(), highest, "kept");
    for _ in 0..2 {
        let (lowest, _) = freed();
        allocator::give_back();
        assert_eq!(next(), lowest, "given back");
    }
}

#[test]
fn a_thread_of_the_runtime_gives_its_pieces_back_when_it_has_nothing_to_do() {
    let env = Env::real();
    let clock = env.clock.clone();
    let runtime = apiserver::runtime(&env).unwrap();
    let given_back = async move {
        loop {
            let thread = std::thread::current().id();
            let (lowest, _) = freed();
            clock.sleep(Duration::from_millis(20)).await;
            // Another thread may have gone on with this.
            if std::thread::current().id() == thread && next() == lowest {
                return;
            }
        }
    };
    let task = env.spawn.clone();
    let within = env.clock.clone();
    runtime
        .block_on(async move {
            let task = task.spawn("given back", given_back);
            within.timeout(Duration::from_secs(30), task).await
        })
        .unwrap()
        .unwrap();
}
