//! Network namespaces with a name, as `ip netns` has them.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use rustix::{
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

use super::{sandbox, sys};

const DIR: &str = "/run/netns";

/// Settings that a namespace would otherwise inherit from the machine, set before it has an interface.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    // No link-local address but those that the plan gives.
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/icmp/ratelimit", "0"),
    // Frames between hosts of one LAN are not the router's business.
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
];

/// A named network namespace; its name goes when this is dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes one.
    ///
    /// # Errors
    /// If it can't be made or named.
    pub fn create(name: &str) -> anyhow::Result<Self> {
        let path = path_of(name);
        File::create_new(&path).with_context(|| format!("name a namespace {name}"))?;
        on_a_thread(|| {
            sys::unshare(UnshareFlags::NEWNET).context("make a network namespace")?;
            mount_bind("/proc/thread-self/ns/net", &path).with_context(|| format!("mount {}", path.display()))?;
            for (key, value) in SETTINGS {
                // What a kernel lacks needs no setting.
                let _ = fs::write(Path::new("/proc/sys/net").join(key), value);
            }
            Ok(())
        })?;
        Ok(Self { name: name.to_owned(), file: File::open(&path).with_context(|| format!("open {}", path.display()))? })
    }

    /// Its name for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `f` inside, on a thread of its own. Sockets made there stay in the namespace; so do processes started there.
    ///
    /// # Errors
    /// Those of `f`, and if the namespace can't be entered.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        on_a_thread(|| {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("enter the namespace {}", self.name))?;
            f()
        })
    }

    /// Runs a program inside with `input` as its standard input.
    ///
    /// # Errors
    /// If it can't be run, or says that it failed.
    pub fn feed(&self, program: &str, args: &[&str], input: &str) -> anyhow::Result<()> {
        let mut command = Command::new(sandbox::tool(program)?);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.within(|| command.spawn().with_context(|| format!("run {program}")))?;
        let fed = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().with_context(|| format!("run {program}"))?;
        if !output.status.success() {
            bail!("{program} in {}: {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        fed.with_context(|| format!("feed {program}"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let path = path_of(&self.name);
        // What can't be removed goes with the sandbox.
        let _ = unmount(&path, UnmountFlags::DETACH);
        let _ = fs::remove_file(&path);
    }
}

/// Moves this thread, and so the whole of a process with one thread, into a namespace that somebody made.
///
/// # Errors
/// If there is none of that name, or it can't be entered.
pub fn join(name: &str) -> anyhow::Result<()> {
    let file = File::open(path_of(name)).with_context(|| format!("there is no namespace {name}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter the namespace {name}"))
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Namespaces belong to threads, so what changes them runs on one that ends.
fn on_a_thread<T: Send>(f: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| match scope.spawn(f).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
