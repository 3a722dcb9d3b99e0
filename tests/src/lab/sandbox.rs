//! The place where a lab is built: user, network and mount namespaces of our own, so that no root is needed,
//! nothing can leave (there is no uplink), and nothing is left when the last process in them ends.

use std::{ffi::OsString, fs, io, os::fd::AsRawFd, path::PathBuf, process::Command};

use anyhow::{Context, anyhow, bail};
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change},
    thread::UnshareFlags,
};

use super::{netns::Netns, sys};

/// Moves this process into a fresh sandbox. Call it first thing in `main`: a process with threads can't.
///
/// # Errors
/// If the system does not allow that; the message is one sentence for people.
pub fn enter() -> anyhow::Result<()> {
    for name in ["ip", "nft"] {
        tool(name)?;
    }
    unshare_everything()?;
    mounts().map_err(|error| match apparmor_restricts() {
        true => anyhow!(
            "AppArmor restricts user namespaces here: use sudo, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        ),
        false => error.context("this system does not allow mounts in a user namespace"),
    })?;
    let status = Command::new(tool("ip")?).args(["link", "set", "lo", "up"]).status().context("run ip")?;
    if !status.success() {
        bail!("this system does not allow changes of the network in a user namespace");
    }
    Ok(())
}

/// Enters a sandbox and makes sure that the kernel has all that the lab's NATs are made of.
///
/// # Errors
/// As for [`enter`].
pub fn check() -> anyhow::Result<()> {
    enter()?;
    let netns = Netns::create("natlab-check").context("network namespaces can't be named here")?;
    let rules = "table ip check {\n map m {\n type ipv4_addr . inet_service : ipv4_addr . inet_service\n \
        flags dynamic,timeout\n }\n chain c {\n type nat hook postrouting priority srcnat\n masquerade\n }\n}\n";
    netns.feed("nft", &["-f", "-"], rules).context("this kernel lacks parts of nftables")
}

/// Where a program of the system is; the directories of administrators' programs need not be in PATH.
///
/// # Errors
/// If it is nowhere.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let path = search_path();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        let package = match name {
            "ip" => "iproute2",
            "nft" => "nftables",
            "miniupnpd" => "miniupnpd-nftables",
            other => other,
        };
        anyhow!("{name} is missing: install {package}")
    })
}

/// PATH with the directories of administrators' programs at its end.
pub fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    std::env::join_paths(dirs).unwrap_or(path)
}

fn unshare_everything() -> anyhow::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let network = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    match sys::unshare(network | UnshareFlags::NEWUSER) {
        Ok(()) => {}
        // Root of a machine without user namespaces has what it takes all the same.
        Err(_) if uid.is_root() => return sys::unshare(network).context("network namespaces are not allowed here"),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => bail!("user.max_user_namespaces is too low here"),
        Err(error) => return Err(anyhow!(error).context("user namespaces are not allowed here without root")),
    }
    // A group map needs setgroups(2) given up first. Kernels before 3.19 have no such file.
    let _ = fs::write("/proc/self/setgroups", "deny");
    fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw())).context("user namespaces are restricted here")?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw())).context("user namespaces are restricted here")
}

/// A /run of our own, for the names of network namespaces; people's own directories in it (sound!) stay.
fn mounts() -> anyhow::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("make mounts private")?;
    let users = rustix::fs::open("/run/user", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None).context("mount a tmpfs on /run")?;
    fs::create_dir("/run/netns").context("make /run/netns")?;
    if let Some(users) = users {
        fs::create_dir("/run/user").context("make /run/user")?;
        let from = format!("/proc/self/fd/{}", users.as_raw_fd());
        mount_bind_recursive(from, "/run/user").context("keep /run/user")?;
    }
    Ok(())
}

fn apparmor_restricts() -> bool {
    fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_ok_and(|text| text.trim() == "1")
}
