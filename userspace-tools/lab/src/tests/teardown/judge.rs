// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What another program's analysis of TCP says of captured connections.
//!
//! tshark follows each connection and marks what it takes for a retransmission or a loss. Here its findings are put
//! together for each connection: it has to be opened by three segments and to end by one FIN of each side, each
//! acknowledged, and nothing may have been lost, sent again or reset. Two things are counted apart, of which the first
//! may have a good reason:
//!
//! * Something that comes again after the time of a retransmission timer. So it goes when the host has dropped a frame
//!   that it got in the moment of the hand-over, or when this machine was busy elsewhere.
//! * Data of the server behind its FIN, or with an older timestamp than what has come before: the card has overtaken what
//!   the host still had in a queue. It may have sent the same meanwhile, and the connection may be over.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// What tshark tells of each frame.
const FIELDS: [&str; 8] = [
    "frame.time_epoch",
    "tcp.stream",
    "ip.dst",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.len",
    "tcp.options.timestamp.tsval",
];

/// What tshark may find wrong with a frame.
const FINDINGS: [&str; 6] = [
    "tcp.analysis.retransmission",
    "tcp.analysis.fast_retransmission",
    "tcp.analysis.spurious_retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.lost_segment",
    "tcp.analysis.ack_lost_segment",
];

/// What it may say of a side whose frames come in another order.
const ORDER: [&str; 4] = [FINDINGS[0], FINDINGS[1], FINDINGS[3], FINDINGS[4]];

/// What it may say when a timer sends something again.
const AGAIN: [&str; 3] = [FINDINGS[0], FINDINGS[2], FINDINGS[3]];

/// Seconds that pass before a timer sends something again, at least. (Linux has 0.2 for both; clocks tick.)
const TIMER: f64 = 0.19;

const FIN: u16 = 1;
const SYN: u16 = 1 << 1;
const RST: u16 = 1 << 2;
const ACK: u16 = 1 << 4;

/// tshark's arguments, for a capture in `file`.
pub(super) fn arguments(file: &str) -> Vec<String> {
    let mut arguments: Vec<String> = ["tshark", "-n", "-r", file, "-T", "fields"]
        .map(str::to_owned)
        .to_vec();
    for field in FIELDS.iter().chain(&FINDINGS) {
        arguments.extend(["-e".to_owned(), (*field).to_owned()]);
    }
    arguments
}

/// The judgement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Connections that were opened, whatever became of them.
    pub(super) connections: u64,
    /// Those of them in which both sides have sent data.
    pub(super) answered: u64,
    /// Clients that sent RST instead of the handshake's last segment, as one does that ends meanwhile: those were no
    /// connections.
    pub(super) given_up: u64,
    /// Connections with something that a timer has sent again.
    pub(super) again: u64,
    /// Connections with frames in another order.
    pub(super) overtaken: u64,
    /// All else that was wrong, each with its connection.
    pub(super) wrong: Vec<String>,
}

/// One side's segments of a connection.
#[derive(Debug, Default)]
struct Side {
    syn: bool,
    ack: bool,
    data: bool,
    /// Sequence numbers behind its FINs.
    fins: Vec<u32>,
    resets: u64,
    /// The last acknowledgement.
    acked: Option<u32>,
    /// Sequence numbers of what it has sent, and behind it, and when.
    seen: Vec<(u32, u32, f64)>,
    /// Something came again by a timer.
    again: bool,
    /// Something came again before any timer could have sent it.
    early: bool,
    /// Its newest timestamp.
    newest: Option<u32>,
    /// Data came with an older one.
    stale: bool,
    findings: Vec<&'static str>,
}

/// Judges what tshark has printed of connections to `server`.
pub(super) fn judge(text: &str, server: &str) -> Result<Verdict> {
    // Client and server of each connection.
    let mut streams: BTreeMap<u64, [Side; 2]> = BTreeMap::new();
    for line in text.lines() {
        take(line, server, &mut streams).with_context(|| format!("tshark: {line:?}"))?;
    }
    let mut verdict = Verdict::default();
    for (number, sides) in &streams {
        verdict.add(*number, sides);
    }
    Ok(verdict)
}

fn take(line: &str, server: &str, streams: &mut BTreeMap<u64, [Side; 2]>) -> Result<()> {
    let fields: Vec<&str> = line.split('\t').collect();
    let (known, found) = fields
        .split_at_checked(FIELDS.len())
        .filter(|(_, found)| found.len() == FINDINGS.len())
        .context("another number of fields")?;
    let number = |place: usize| known[place].parse::<u64>().context(FIELDS[place]);
    let word = |place: usize| known[place].parse::<u32>().context(FIELDS[place]);
    let time: f64 = known[0].parse().context(FIELDS[0])?;
    let flags = u16::from_str_radix(known[3].trim_start_matches("0x"), 16)?;
    let (seq, ack, len) = (word(4)?, word(5)?, word(6)?);

    let sides = streams.entry(number(1)?).or_default();
    let side = &mut sides[usize::from(known[2] != server)];
    side.syn |= flags & SYN != 0;
    side.ack |= flags & (ACK | RST) == ACK;
    side.data |= len != 0;
    side.resets += u64::from(flags & RST != 0);
    let end = seq
        .wrapping_add(len)
        .wrapping_add(u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0));
    if end != seq {
        // Each SYN has an answer, whenever it comes.
        side.send((seq, end, time), flags & (SYN | ACK) == SYN | ACK);
    }
    if let Ok(tsval) = known[7].parse::<u32>() {
        let older = side.newest.is_some_and(|newest| before(tsval, newest));
        side.stale |= older && len != 0;
        if !older {
            side.newest = Some(tsval);
        }
    }
    if flags & FIN != 0 {
        side.fins.push(end);
    }
    if flags & ACK != 0 {
        side.acked = Some(ack);
    }
    let findings = FINDINGS.iter().zip(found);
    side.findings.extend(
        findings
            .filter(|(_, found)| !found.is_empty())
            .map(|(name, _)| name),
    );
    Ok(())
}

/// Whether sequence number `a` is before `b`.
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

impl Side {
    /// Takes what it sends, at any time if it is `asked` for.
    fn send(&mut self, part: (u32, u32, f64), asked: bool) {
        let (seq, end, time) = part;
        let overlaps = |&&(from, to, _): &&(u32, u32, f64)| before(seq, to) && before(from, end);
        if let Some((_, _, last)) = self.seen.iter().rev().find(overlaps) {
            let by_timer = asked || time - last >= TIMER;
            self.again |= by_timer;
            self.early |= !by_timer;
        }
        self.seen.push(part);
    }

    /// A timer has sent something again, and all that was found is about that.
    fn is_late(&self) -> bool {
        let same = self.fins.windows(2).all(|pair| pair[0] == pair[1]);
        let found = self.findings.iter().all(|name| AGAIN.contains(name));
        self.again && !self.early && same && found
    }

    /// It has sent everything once, but in another order.
    fn is_reordered(&self) -> bool {
        let found = self.findings.iter().all(|name| ORDER.contains(name));
        let once = !self.again && !self.early && self.fins.len() == 1;
        once && found && !self.findings.is_empty()
    }
}

impl Verdict {
    fn add(&mut self, number: u64, sides: &[Side; 2]) {
        let [client, server] = sides;
        if client.syn && !client.ack && client.resets != 0 && client.fins.is_empty() {
            self.given_up += 1;
            return;
        }
        self.connections += 1;
        self.answered += u64::from(client.data && server.data);
        if server.stale && !server.fins.is_empty() && !client.fins.is_empty() {
            self.overtaken += 1;
            return;
        }
        self.again += u64::from(client.is_late() || server.is_late());
        self.overtaken += u64::from(client.is_reordered() || server.is_reordered());
        for (name, side, other) in [("client", client, server), ("server", server, client)] {
            let mut wrong = |what: String| {
                self.wrong
                    .push(format!("connection {number}, {name}: {what}"));
            };
            let known = side.is_late() || side.is_reordered();
            if !side.syn || !side.ack {
                wrong("no whole handshake".into());
            }
            if side.resets != 0 {
                wrong(format!("{} RSTs", side.resets));
            }
            match side.fins.as_slice() {
                [_, _, ..] if !known => wrong(format!("{} FINs", side.fins.len())),
                [end, ..] if other.acked == Some(*end) => {}
                [_, ..] => wrong("its FIN is not acknowledged".into()),
                [] => wrong("no FIN".into()),
            }
            if side.early {
                wrong("sent something again too early".into());
            } else if !side.findings.is_empty() && !known {
                wrong(side.findings.join(", "));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const SERVER: &str = "10.0.0.2";

    /// Frames of one connection: whether from the client, flags, sequence and acknowledgement number, bytes, finding,
    /// milliseconds since the one before.
    type Frame = (bool, u16, u32, u32, u32, Option<&'static str>, u32);

    /// A request, an answer with FIN, as the card sends it, and the client's end; numbers go round.
    const GOOD: [Frame; 7] = [
        (true, SYN, 99, 0, 0, None, 0),
        (false, SYN | ACK, u32::MAX - 5, 100, 0, None, 1),
        (true, ACK, 100, u32::MAX - 4, 0, None, 1),
        (true, ACK, 100, u32::MAX - 4, 50, None, 1),
        (false, ACK | FIN, u32::MAX - 4, 150, 20, None, 1),
        (true, ACK | FIN, 150, 16, 0, None, 1),
        (false, ACK, 16, 151, 0, None, 1),
    ];

    fn text(stream: u64, frames: &[Frame]) -> String {
        stamped(stream, frames, &[])
    }

    /// The same with these timestamps; without, they follow the time.
    fn stamped(stream: u64, frames: &[Frame], stamps: &[u32]) -> String {
        let mut stamps: VecDeque<u32> = stamps.iter().copied().collect();
        let mut millis = 5_000_000;
        let line = |&(up, flags, seq, ack, len, finding, later): &Frame| {
            millis += later;
            let seconds = f64::from(millis) / 1e3;
            let to = if up { SERVER } else { "10.0.0.1" };
            let findings = FINDINGS.map(|name| if finding == Some(name) { "1" } else { "" });
            format!(
                "{seconds:.3}\t{stream}\t{to}\t0x{flags:04x}\t{seq}\t{ack}\t{len}\t{}\t{}\n",
                stamps.pop_front().unwrap_or(millis),
                findings.join("\t")
            )
        };
        frames.iter().map(line).collect()
    }

    fn wrong(frames: &[Frame]) -> Vec<String> {
        // A good one is in between and does not change anything.
        let all = text(0, &GOOD) + &text(7, frames);
        let verdict = judge(&all, SERVER).unwrap();
        assert_eq!(verdict.connections, 2);
        assert!(verdict
            .wrong
            .iter()
            .all(|what| what.starts_with("connection 7,")));
        verdict.wrong
    }

    #[test]
    fn good_connections() {
        let all = text(0, &GOOD) + &text(1, &GOOD);
        let good = Verdict {
            connections: 2,
            answered: 2,
            ..Verdict::default()
        };
        assert_eq!(judge(&all, SERVER).unwrap(), good);
    }

    #[test]
    fn a_reset_is_wrong() {
        for client in [true, false] {
            let mut frames = GOOD.to_vec();
            frames.push((client, RST, 151, 0, 0, None, 1));
            assert_eq!(wrong(&frames).len(), 1);
            assert!(wrong(&frames)[0].contains("1 RSTs"));
        }
    }

    #[test]
    fn nothing_comes_again_before_its_time() {
        // The server's FIN, and a part of the request.
        let mut frames = GOOD.to_vec();
        frames.push((false, ACK | FIN, 15, 151, 0, Some(FINDINGS[0]), 1));
        let told = wrong(&frames).join("; ");
        assert!(told.contains("server: 2 FINs"), "{told}");
        assert!(told.contains("server: sent something again"), "{told}");
        let mut frames = GOOD.to_vec();
        frames.insert(4, (true, ACK, 120, u32::MAX - 4, 30, None, 100));
        assert_eq!(wrong(&frames).len(), 1);
    }

    #[test]
    fn what_a_timer_sends_again_is_counted_apart() {
        for (place, frame) in [
            (
                4,
                (true, ACK, 100, u32::MAX - 4, 50, Some(FINDINGS[0]), 200),
            ),
            (6, (true, ACK | FIN, 150, 16, 0, Some(FINDINGS[0]), 210)),
        ] {
            let mut frames = GOOD.to_vec();
            frames.insert(place, frame);
            let verdict = judge(&text(0, &frames), SERVER).unwrap();
            assert_eq!((verdict.overtaken, verdict.again), (0, 1));
            assert_eq!(verdict.wrong, [""; 0]);
            // For other findings that is no reason.
            frames[place].5 = Some("tcp.analysis.fast_retransmission");
            assert_eq!(wrong(&frames).len(), if place == 6 { 2 } else { 1 });
        }
        // A FIN in another place is another one.
        let mut frames = GOOD.to_vec();
        frames.insert(6, (true, ACK | FIN, 151, 16, 0, None, 300));
        assert!(wrong(&frames)[0].contains("client: 2 FINs"));
    }

    #[test]
    fn another_order_is_counted_apart() {
        // The FIN, then what is before it.
        let mut frames = GOOD.to_vec();
        frames[4] = (false, ACK | FIN, 15, 150, 0, Some(FINDINGS[4]), 1);
        frames.insert(5, (false, ACK, u32::MAX - 4, 150, 20, Some(FINDINGS[0]), 9));
        let verdict = judge(&text(0, &frames), SERVER).unwrap();
        assert_eq!((verdict.overtaken, verdict.again), (1, 0));
        assert_eq!(verdict.wrong, [""; 0]);
        // The card has sent it, too, before what the host had came at last; the client was gone.
        let mut both = GOOD.to_vec();
        both.push((false, ACK, u32::MAX - 4, 150, 20, Some(FINDINGS[0]), 9));
        both.push((true, RST, 151, 0, 0, None, 0));
        assert!(!wrong(&both).is_empty());
        let verdict = judge(&stamped(0, &both, &[1, 1, 1, 1, 9, 2, 9, 4, 2]), SERVER).unwrap();
        assert_eq!((verdict.overtaken, verdict.wrong.len()), (1, 0));
        // What has never come is no matter of order.
        frames[5].5 = Some("tcp.analysis.ack_lost_segment");
        assert_eq!(wrong(&frames).len(), 1);
    }

    #[test]
    fn a_connection_has_two_ends() {
        let told = |frames: &[Frame]| wrong(frames).join("; ");
        assert!(told(&GOOD[..5]).contains("client: no FIN"));
        assert!(told(&GOOD[..3]).contains("server: no FIN"));
        // The last acknowledgement is not there, or is of something else.
        assert!(told(&GOOD[..6]).contains("client: its FIN is not acknowledged"));
        let mut frames = GOOD;
        frames[6].3 = 150;
        assert!(told(&frames).contains("client: its FIN is not acknowledged"));
        // The beginning is not there.
        assert!(told(&GOOD[1..]).contains("client: no whole handshake"));
    }

    #[test]
    fn who_gives_up_early_has_no_connection() {
        let frames = [GOOD[0], GOOD[1], (true, RST, 100, 0, 0, None, 1)];
        let verdict = judge(&text(3, &frames), SERVER).unwrap();
        let expected = Verdict {
            given_up: 1,
            ..Verdict::default()
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn other_output_is_no_judgement() {
        assert!(judge("tshark: no such file\n", SERVER).is_err());
        assert!(judge(&text(0, &GOOD).replace("0x", "q"), SERVER).is_err());
        assert_eq!(judge("", SERVER).unwrap(), Verdict::default());
    }
}
