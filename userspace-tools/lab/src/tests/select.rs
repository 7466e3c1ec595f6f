// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Choosing tests by name.

/// Whether `name` is meant by `pattern`: its beginning, or a glob with `*` and `?` for the whole.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains(['*', '?']) {
        glob(pattern.as_bytes(), name.as_bytes())
    } else {
        name.starts_with(pattern)
    }
}

/// Matches greedily, and goes back to the last `*` only: linear in each, no recursion.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_and_glob() {
        assert!(matches("upstream", "upstream-nfp-ping"));
        assert!(!matches("nfp", "upstream-nfp-ping"));
        assert!(matches("*-ping", "upstream-nfp-ping"));
        assert!(matches("*nfp*", "upstream-nfp-ping"));
        assert!(matches("upstream-nf?-p*g", "upstream-nfp-ping"));
        assert!(!matches("*-pong", "upstream-nfp-ping"));
        assert!(!matches("upstream?", "upstream-nfp-ping"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "abbbabc"));
    }
}
