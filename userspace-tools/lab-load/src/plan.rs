// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What both ends of a connection do. Both know it from the seed, which the client tells first.

use std::time::Duration;

use crate::content::{Content, Random};

/// A step of an end. It receives all the time besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Sends so many bytes.
    Send(u64),
    /// Waits until so many bytes have come in all.
    Await(u64),
    /// Waits for the end of what the other one sends.
    AwaitEnd,
    /// Does nothing for a while.
    Pause(Duration),
    /// Ends what it sends.
    End,
}

/// An end of a connection: its steps, what it sends, and what the other one does.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) steps: Vec<Step>,
    pub(crate) sends: Content,
    pub(crate) receives: Content,
    /// Bytes that it receives in all.
    pub(crate) total: u64,
}

/// What a client says first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    pub(crate) seed: u64,
    /// Fewest bytes that are sent at a time; where they are to be few, they are.
    pub(crate) least: u64,
    /// Most bytes each way.
    pub(crate) most: u64,
    /// The server says [`GREETING`] before anything else, and the client waits for it.
    pub(crate) greeting: bool,
}

/// What a server says first, if it is to.
pub(crate) const GREETING: u8 = b'!';

impl Hello {
    pub(crate) const SIZE: usize = 40;
    const MAGIC: u64 = u64::from_be_bytes(*b"lab-load");

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words = [
            Self::MAGIC,
            self.seed,
            self.least,
            self.most,
            self.greeting.into(),
        ];
        for (part, word) in bytes.chunks_mut(8).zip(words) {
            part.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut words = bytes
            .chunks(8)
            .map(|part| part.try_into().map(u64::from_be_bytes));
        match (
            words.next()?.ok()?,
            words.next()?.ok()?,
            words.next()?.ok()?,
            words.next()?.ok()?,
            words.next()?.ok()?,
        ) {
            (Self::MAGIC, seed, least @ 1.., most, greeting @ 0..2) if least <= most => {
                Some(Self {
                    seed,
                    least,
                    most,
                    greeting: greeting == 1,
                })
            }
            _ => None,
        }
    }
}

/// The ends of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) client: End,
    pub(crate) server: End,
}

/// Writes both lists of steps.
#[derive(Default)]
struct Writer {
    client: Vec<Step>,
    server: Vec<Step>,
    up: u64,
    down: u64,
}

impl Writer {
    fn up(&mut self, bytes: u64) {
        self.client.push(Step::Send(bytes));
        self.up += bytes;
    }

    fn down(&mut self, bytes: u64) {
        self.server.push(Step::Send(bytes));
        self.down += bytes;
    }

    /// Requests that are answered one after the other.
    fn rounds(&mut self, random: &mut Random, least: u64, most: u64) {
        let count = 1 + random.below(5);
        let most = (most / count).max(least);
        for _ in 0..count {
            self.up(random.size(least, most));
            self.server.push(Step::Await(self.up));
            pause(&mut self.server, random);
            self.down(random.size(least, most));
            self.client.push(Step::Await(self.down));
            pause(&mut self.client, random);
        }
    }
}

/// Now and then some milliseconds, so that things happen in another order.
fn pause(steps: &mut Vec<Step>, random: &mut Random) {
    if random.below(8) == 0 {
        steps.push(Step::Pause(Duration::from_millis(random.below(30))));
    }
}

impl Plan {
    pub(crate) fn new(hello: Hello) -> Self {
        let mut random = Random::new(hello.seed);
        let mut to = Writer::default();
        let Hello { least, most, .. } = hello;
        let kind = random.below(7);
        match kind {
            // The client ends, then the server; and the other way round.
            0 | 1 => {
                to.rounds(&mut random, least, most);
                let Writer { client, server, .. } = &mut to;
                let (first, second) = if kind == 0 {
                    (client, server)
                } else {
                    (server, client)
                };
                first.push(Step::End);
                second.extend([Step::AwaitEnd, Step::End]);
            }
            // An upload that ends, then the answer.
            2 => {
                to.up(random.size(least, most));
                pause(&mut to.client, &mut random);
                to.client.push(Step::End);
                to.server.push(Step::AwaitEnd);
                to.down(random.size(least, most));
                to.server.push(Step::End);
            }
            // The server ends, the client goes on.
            3 => {
                to.up(random.size(1, 1000.min(most)));
                to.server.push(Step::Await(to.up));
                to.down(random.size(least, most));
                to.server.push(Step::End);
                to.client.push(Step::AwaitEnd);
                to.up(random.size(least, most));
                to.client.push(Step::End);
            }
            // Both send at the same time, and end when they have done so.
            4 | 5 => {
                for _ in 0..=random.below(3) {
                    to.up(random.size(least, most));
                    pause(&mut to.client, &mut random);
                    to.down(random.size(least, most));
                    pause(&mut to.server, &mut random);
                }
                to.client.push(Step::End);
                to.server.push(Step::End);
            }
            // One says nothing at all.
            _ => {
                to.client.push(Step::End);
                to.down(random.size(least, most));
                to.server.push(Step::End);
            }
        }
        let (up, down) = (
            Content::new(2 * hello.seed),
            Content::new(2 * hello.seed + 1),
        );
        Self {
            client: End {
                steps: to.client,
                sends: up,
                receives: down,
                total: to.down,
            },
            server: End {
                steps: to.server,
                sends: down,
                receives: up,
                total: to.up,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_read_as_it_was_written() {
        let hello = Hello {
            seed: 7,
            least: 2,
            most: 9,
            greeting: true,
        };
        let mut bytes = hello.to_bytes();
        assert_eq!(Hello::from_bytes(&bytes), Some(hello));
        bytes[0] ^= 1;
        assert_eq!(Hello::from_bytes(&bytes), None);
        for (least, most) in [(0, 9), (10, 9)] {
            let wrong = Hello {
                least,
                most,
                ..hello
            };
            assert_eq!(Hello::from_bytes(&wrong.to_bytes()), None);
        }
    }

    #[test]
    fn ends_agree_on_all_that_is_sent() {
        let sent = |steps: &[Step]| -> u64 {
            let bytes = |step: &Step| {
                if let Step::Send(bytes) = step {
                    *bytes
                } else {
                    0
                }
            };
            steps.iter().map(bytes).sum()
        };
        for seed in 0..500 {
            let plan = Plan::new(Hello {
                seed,
                least: 1 + seed % 1000,
                most: 1000,
                greeting: false,
            });
            assert_eq!(sent(&plan.client.steps), plan.server.total);
            assert_eq!(sent(&plan.server.steps), plan.client.total);
            for end in [&plan.client, &plan.server] {
                assert_eq!(
                    end.steps.iter().filter(|step| **step == Step::End).count(),
                    1
                );
                assert_eq!(end.steps.last(), Some(&Step::End));
            }
        }
    }
}
