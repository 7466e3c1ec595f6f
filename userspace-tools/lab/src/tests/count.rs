// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Guest instructions are counted right, whatever the guest's clock follows.

use anyhow::{ensure, Context as _, Result};

use super::{Context, LabTest, LONG};
use crate::session::{Clock, Driver, Session};

pub(super) fn tests() -> Vec<LabTest> {
    vec![LabTest::ours(
        format!("{LONG}count-known"),
        "programs of known length are counted alike by both clocks, in user space and in the kernel",
        300,
        known,
    )]
}

/// Programs whose rounds have a known number of instructions.
const SOURCE: &str = r"
.bss
buffer: .space 64
.text
.globl _start
_start:
    mov $ROUNDS, %r8
1:
.if KIND == 1
    lea buffer(%rip), %rdi
    mov $64, %ecx
    xor %eax, %eax
    rep stosb
.elseif KIND == 2
    mov $110, %eax      # getppid
    syscall
.endif
    dec %r8
    jnz 1b
    mov $60, %eax       # exit
    xor %edi, %edi
    syscall
";

/// A kind of program.
struct Kind {
    name: &'static str,
    number: u32,
    /// Rounds of the longer one of two programs.
    rounds: u32,
    /// Instructions of a round in user space.
    user: u32,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "a loop",
        number: 0,
        rounds: 5_000_000,
        user: 2,
    },
    Kind {
        // The string instruction is one, although it stores 64 times.
        name: "a repeated string instruction",
        number: 1,
        rounds: 200_000,
        user: 6,
    },
    Kind {
        name: "system calls",
        number: 2,
        rounds: 200_000,
        user: 4,
    },
];

/// What a round costs.
#[derive(Clone, Copy, Debug)]
struct Round {
    user: f64,
    kernel: f64,
}

fn known(context: &Context<'_>) -> Result<()> {
    /// Part by which a count may be off: the guest does other things, too.
    const SLACK: f64 = 0.05;
    let mut kernel: Option<f64> = None;
    for clock in [Clock::Wall, Clock::Instructions] {
        let builder = context.session().driver(Driver::None).cards(0);
        let session = context.start(builder.count(true).clock(clock))?;
        for kind in &KINDS {
            let round = kind.measure(&session)?;
            let expected = f64::from(kind.user);
            ensure!(
                (round.user - expected).abs() < SLACK * expected,
                "clock {}: a round of {} has {expected} instructions, counted were {round:?}",
                clock.name(),
                kind.name
            );
            if kind.number == 2 {
                let first = *kernel.get_or_insert(round.kernel);
                ensure!(
                    (round.kernel - first).abs() < SLACK * first,
                    "a system call has {first} instructions by one clock, {} by the other",
                    round.kernel
                );
            }
        }
        context.finish(session)?;
    }
    Ok(())
}

impl Kind {
    /// Runs two programs that differ in their rounds only: what starting one costs falls out. The guest may do other
    /// things meanwhile, which only adds: the least of several runs counts.
    fn measure(&self, session: &Session) -> Result<Round> {
        const FEW: u32 = 1;
        let few = self.least(session, FEW)?;
        let many = self.least(session, self.rounds)?;
        let each = |many: u64, few: u64| (many as f64 - few as f64) / f64::from(self.rounds - FEW);
        Ok(Round {
            user: each(many.0, few.0),
            kernel: each(many.1, few.1),
        })
    }

    fn least(&self, session: &Session, rounds: u32) -> Result<(u64, u64)> {
        const RUNS: usize = 3;
        let mut least = (u64::MAX, u64::MAX);
        for _ in 0..RUNS {
            let (user, kernel) = self.run(session, rounds)?;
            least = (least.0.min(user), least.1.min(kernel));
        }
        Ok(least)
    }

    /// Instructions in user space and in the kernel while a program runs.
    fn run(&self, session: &Session, rounds: u32) -> Result<(u64, u64)> {
        let guest = session.guest();
        guest
            .run_ok(format!(
                "as --defsym KIND={} --defsym ROUNDS={rounds} -o /tmp/known.o - <<'END' && \
                 ld -o /tmp/known /tmp/known.o\n{SOURCE}END",
                self.number
            ))
            .context("assemble")?;
        let before = session.instructions()?;
        guest.run_ok("exec /tmp/known")?;
        let spent = session.instructions()? - before;
        Ok((spent.user, spent.kernel))
    }
}
