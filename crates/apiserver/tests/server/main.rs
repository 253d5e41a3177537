//! A whole server in memory, asked over HTTP.

mod golden;
mod limits;
mod objects;
mod shutdown;
mod speed;
mod stages;
mod tls;
mod watch;
mod world;
