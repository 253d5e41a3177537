//! Who competes for the lease, over all starts of a process on one directory.
//!
//! A random name in a file that one process at a time has locked. Who has the lock knows that every other process that ever called
//! itself by this name is dead: a dead process has no lock, and one that is only stopped still has it. A copy of the file breaks
//! that, and so does a file system that does not lock; what that costs is said at [`crate::Lease`].

use std::io;
use std::path::{Path, PathBuf};

use env::{Disk, DiskFile, Env};

/// The name, and the lock on its file.
pub(crate) struct HolderIdentity {
    name: String,
    /// Held as long as this lives.
    _lock: Box<dyn DiskFile>,
}

/// 128 bits in hexadecimal digits.
const NAME_LEN: usize = 32;

// === impl HolderIdentity ===

impl HolderIdentity {
    /// Locks the file, and makes it at the first start. `None`: another process has it.
    pub(crate) async fn take(env: &Env, file: PathBuf) -> io::Result<Option<Self>> {
        let disk = env.disk.clone();
        let new_name = format!("{:016x}{:016x}", env.rng.next_u64(), env.rng.next_u64());
        env.spawn.blocking(move || Self::lock(&*disk, &file, new_name)).await
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn lock(disk: &dyn Disk, file: &Path, new_name: String) -> io::Result<Option<Self>> {
        let file = disk.open(file)?;
        if !file.try_lock()? {
            return Ok(None);
        }
        let name = match read_name(&*file)? {
            Some(name) => name,
            // New, or not written whole: nobody has called himself by that, for what is used was synced before.
            None => {
                file.set_len(0)?;
                file.write_at(0, new_name.as_bytes())?;
                file.sync()?;
                new_name
            }
        };
        Ok(Some(Self { name, _lock: file }))
    }
}

fn read_name(file: &dyn DiskFile) -> io::Result<Option<String>> {
    if file.len()? != NAME_LEN as u64 {
        return Ok(None);
    }
    let mut bytes = [0; NAME_LEN];
    file.read_at(0, &mut bytes)?;
    let is_name = bytes.iter().all(u8::is_ascii_hexdigit);
    Ok(is_name.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use env::simulated::{Crash, SimOptions};

    use super::*;

    async fn take(env: &Env) -> Option<HolderIdentity> {
        HolderIdentity::take(env, "d/identity".into()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_process_at_a_time_has_the_name() {
        let (env, host) = Env::simulated(1, SimOptions::default());
        let first = take(&env).await.unwrap();
        assert!(take(&env).await.is_none());
        host.crash(Crash::Process);
        let second = take(&host.env()).await.unwrap();
        assert_eq!(first.name(), second.name());
        assert!(take(&host.env()).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_taken_outlives_the_power() {
        for seed in 0..20 {
            let (env, host) = Env::simulated(seed, SimOptions::default());
            let first = take(&env).await.unwrap();
            host.crash(Crash::Power);
            let second = take(&host.env()).await.unwrap();
            assert_eq!(first.name(), second.name(), "seed {seed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_name_is_written_anew() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        for torn in ["", "0123", "0123456789abcdef0123456789abcde\0", &"a".repeat(64)] {
            env.disk.write_atomic("d/identity".as_ref(), torn.as_bytes()).unwrap();
            let name = take(&env).await.unwrap().name().to_owned();
            assert!(name.len() == NAME_LEN && !torn.contains(&name), "{name}");
            assert_eq!(take(&env).await.unwrap().name(), name);
        }
    }
}
