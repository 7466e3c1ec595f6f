// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Names and versions of all that the distribution gives.

/// The distribution's release of build root and guest.
pub(crate) const SUITE: &str = "trixie";
/// Newer kernels and QEMU for it.
pub(crate) const BACKPORTS: &str = "trixie-backports";
/// Kernel series of the guest; the newest release of it in the archive is taken.
pub(crate) const KERNEL_SERIES: &str = "7.3";
/// Kernel flavour of the guest: small, and has virtiofs built in.
pub(crate) const KERNEL_FLAVOUR: &str = "cloud-amd64";

/// What the first step puts into the root beside apt itself.
pub(crate) const BASE: &[&str] = &["ca-certificates"];

/// Suffix of LLVM's programs, as the kernel's `LLVM=` takes it; they are in [`BUILD_TOOLS`].
pub(crate) const LLVM: &str = "-19";

/// Compilers and what the kernel's build needs.
pub(crate) const BUILD_TOOLS: &[&str] = &[
    "bc",
    "bindgen",
    "bison",
    "clang-19",
    "cpio",
    "flex",
    "gcc",
    "gcc-14",
    "kmod",
    "libelf-dev",
    "libssl-dev",
    "lld-19",
    "llvm-19",
    "make",
    "pahole",
    "python3",
    "rust-clippy",
    "rust-src",
    "rustc",
    "xz-utils",
    "zstd",
];

/// What runs in the guest, on the wire side, and under them.
pub(crate) const PROGRAMS: &[&str] = &[
    "dkms",
    "ethtool",
    "haproxy",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "linux-perf",
    "memcached",
    "mount",
    "nftables",
    "nginx-light",
    "pciutils",
    "procps",
    "python3-jsonschema",
    "python3-yaml",
    "redis-server",
    "redis-tools",
    "socat",
    "strace",
    "tcpdump",
    "tshark",
    "util-linux",
    "virtiofsd",
    "wrk",
];

/// What comes from the backports beside the kernel.
pub(crate) const FROM_BACKPORTS: &[&str] = &["qemu-system-x86"];

/// Kernel headers of a release.
pub(crate) fn headers(release: &str) -> String {
    format!("linux-headers-{release}")
}

/// The packages that hold the kernel image of a release: the first that the archive has is taken.
/// The second one is how kernels before 7.2 were packed.
pub(crate) fn images(release: &str) -> [String; 2] {
    [
        format!("linux-binary-{release}"),
        format!("linux-image-{release}"),
    ]
}

/// The modules of a release; absent where the image's package holds them.
pub(crate) fn modules(release: &str) -> String {
    format!("linux-modules-{release}")
}

/// The kernel's source.
pub(crate) fn source() -> String {
    format!("linux-source-{KERNEL_SERIES}")
}

/// The archive that the source's package leaves in the root.
pub(crate) fn source_archive() -> String {
    format!("/usr/src/linux-source-{KERNEL_SERIES}.tar.xz")
}

/// A program, or a file, that the host must have, and the packages that bring it.
pub(crate) struct HostNeed {
    /// Name of a program, or an absolute path.
    pub(crate) what: &'static str,
    /// Debian packages.
    pub(crate) packages: &'static [&'static str],
}

/// The keys that sign the distribution's archive.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What the host must have. The rest of the tools lives in the build root.
pub(crate) const HOST: &[HostNeed] = &[
    HostNeed {
        what: "mmdebstrap",
        packages: &["mmdebstrap"],
    },
    HostNeed {
        what: KEYRING,
        packages: &["debian-archive-keyring"],
    },
    HostNeed {
        what: "ip",
        packages: &["iproute2"],
    },
    HostNeed {
        what: "unshare",
        packages: &["util-linux"],
    },
    HostNeed {
        what: "mount",
        packages: &["mount"],
    },
    HostNeed {
        what: "cc",
        packages: &["gcc", "libc6-dev"],
    },
    HostNeed {
        what: "/usr/include/stdlib.h",
        packages: &["libc6-dev"],
    },
];
