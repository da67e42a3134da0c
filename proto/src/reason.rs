//! Why a session failed or ended, and what each part of the system says about it.
//!
//! One enum for the whole network: the edge puts its code into a RESET frame, the PoP turns it into
//! a SOCKS5 reply or an HTTP status with `Proxy-Status` (RFC 9209), and both count it under its
//! label. The table below is the only place that knows these mappings.

use std::{fmt, io};

use crate::socks5::{Reply, Socks5Error};

/// Whose doing a reason is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The proxy client or its user.
    Client,
    /// The edge that carried the session, or its network.
    Edge,
    /// The site that the client wanted.
    Target,
    /// The operator's own network of PoPs.
    Us,
}

impl Side {
    /// The side as a metrics label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Edge => "edge",
            Self::Target => "target",
            Self::Us => "us",
        }
    }
}

/// Whether the same session may succeed on another edge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    /// The trouble is with this edge: another one may do better.
    Retry,
    /// The answer would be the same, or the client has waited long enough.
    Final,
}

/// Everything the system says about one reason.
struct Facts {
    label: &'static str,
    side: Side,
    socks5: Reply,
    http_status: u16,
    proxy_status: &'static str,
    elsewhere: Elsewhere,
    text: &'static str,
}

/// Declares the reasons from a table, one row each. Codes are part of the tunnel protocol: a row
/// may be added at the end, and none may change its code or leave.
macro_rules! reasons {
    ($($code:literal $name:ident $label:literal $side:ident $socks5:ident $status:literal
       $proxy_status:literal $elsewhere:ident $text:literal)*) => {
        /// Why a session failed or ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = concat!("Code ", $code, ": ", $text, ".")] $name = $code,)*
        }

        impl Reason {
            /// Every reason, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason of a code on the wire. A newer peer may know codes that we do not; they
            /// count as a general failure.
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::GeneralFailure,
                }
            }

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$name => Facts {
                        label: $label,
                        side: Side::$side,
                        socks5: Reply::$socks5,
                        http_status: $status,
                        proxy_status: $proxy_status,
                        elsewhere: Elsewhere::$elsewhere,
                        text: $text,
                    },)*
                }
            }
        }
    };
}

// Timeouts are SOCKS5 reply 4, host unreachable: reply 6, TTL expired, speaks of a packet's hop
// limit, and whoever reads it so looks for a routing loop.
//
// RFC 9209 recommends 502 with `destination_ip_prohibited`; it is 403 here, because to a client 502
// means "try again" and a prohibition will not change.
reasons! {
    //   reason               label                   side   SOCKS5              HTTP Proxy-Status error          other edge, text
    0   GeneralFailure       "general_failure"       Us     GeneralFailure      500  "proxy_internal_error"      Final "the proxy failed"
    1   ConnectionRefused    "connection_refused"    Target ConnectionRefused   502  "connection_refused"        Final "the target refused the connection"
    2   HostUnreachable      "host_unreachable"      Target HostUnreachable     502  "destination_ip_unroutable" Final "the target's host is unreachable"
    3   NetworkUnreachable   "network_unreachable"   Edge   NetworkUnreachable  502  "destination_ip_unroutable" Retry "the edge has no route to the target's network"
    4   NameNotFound         "name_not_found"        Target HostUnreachable     502  "dns_error"                 Final "the target's name does not exist"
    5   NameTimedOut         "name_timed_out"        Edge   HostUnreachable     504  "dns_timeout"               Retry "the target's name could not be resolved in time"
    6   TimedOut             "timed_out"             Target HostUnreachable     504  "connection_timeout"        Final "the target did not answer in time"
    7   DeniedByPolicy       "denied_by_policy"      Client NotAllowed          403  "destination_ip_prohibited" Final "the target's address is not allowed"
    8   RequestDenied        "request_denied"        Client NotAllowed          403  "http_request_denied"       Final "the request is not allowed for this user"
    9   NoEdge               "no_edge"               Us     GeneralFailure      503  "destination_unavailable"   Final "no edge is available"
    10  EdgeGone             "edge_gone"             Edge   NetworkUnreachable  502  "connection_terminated"     Retry "the edge's tunnel ended"
    11  ClientGone           "client_gone"           Client GeneralFailure      400  "http_request_error"        Final "the client went away"
    12  TargetReset          "target_reset"          Target ConnectionRefused   502  "connection_terminated"     Final "the target reset the connection"
    13  QuotaExhausted       "quota_exhausted"       Client NotAllowed          403  "http_request_denied"       Final "the user's traffic package is used up"
    14  AuthenticationFailed "authentication_failed" Client NotAllowed          407  "http_request_denied"       Final "user name or password is wrong"
    15  ProtocolError        "protocol_error"        Edge   GeneralFailure      502  "connection_terminated"     Retry "the tunnel's protocol was violated"
    16  UnknownSession       "unknown_session"       Edge   GeneralFailure      502  "connection_terminated"     Retry "the edge does not know the session"
    17  TooManySessions      "too_many_sessions"     Edge   GeneralFailure      503  "connection_limit_reached"  Retry "the edge has no room for another session"
    18  Draining             "draining"              Us     GeneralFailure      503  "destination_unavailable"   Retry "the node is being drained"
    19  UserDisabled         "user_disabled"         Client NotAllowed          403  "http_request_denied"       Final "the user is switched off"
    20  Idle                 "idle"                  Us     HostUnreachable     504  "connection_read_timeout"   Final "the session was idle for too long"
    21  BadRequest           "bad_request"           Client GeneralFailure      400  "http_request_error"        Final "the client's request is malformed"
    22  HandshakeTimedOut    "handshake_timed_out"   Client GeneralFailure      408  "http_request_error"        Final "the client's handshake took too long"
    23  Unsupported          "unsupported"           Client CommandNotSupported 501  "http_request_error"        Final "the request is of a kind that is not served"
    24  TooManyConnections   "too_many_connections"  Client NotAllowed          429  "connection_limit_reached"  Final "the user has too many connections"
    25  Overloaded           "overloaded"            Us     GeneralFailure      503  "connection_limit_reached"  Final "the PoP is at its limit"
    26  BadResponse          "bad_response"          Target GeneralFailure      502  "http_protocol_error"       Final "the target's response is malformed"
    27  PackageExpired       "package_expired"       Client NotAllowed          403  "http_request_denied"       Final "the user's traffic package has expired"
    28  PackageNotStarted    "package_not_started"   Client NotAllowed          403  "http_request_denied"       Final "the user's traffic package has not begun"
    29  ClientAddressDenied  "client_address_denied" Client NotAllowed          403  "http_request_denied"       Final "the user may not connect from this address"
    30  PasswordChanged      "password_changed"      Client NotAllowed          403  "http_request_denied"       Final "the user's password was changed"
    31  UserDeleted          "user_deleted"          Client NotAllowed          403  "http_request_denied"       Final "the user was removed"
}

impl Reason {
    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason as the PoP believes it when an edge gives it. What only the PoP can know, such as
    /// a wrong password or a used-up package, becomes a general failure: an edge must not be able
    /// to make a browser drop its user's password.
    pub const fn as_given_by_edge(self) -> Self {
        match self {
            Self::ConnectionRefused
            | Self::HostUnreachable
            | Self::NetworkUnreachable
            | Self::NameNotFound
            | Self::NameTimedOut
            | Self::TimedOut
            | Self::DeniedByPolicy
            | Self::EdgeGone
            | Self::TargetReset
            | Self::ProtocolError
            | Self::UnknownSession
            | Self::TooManySessions
            | Self::Draining
            | Self::Idle
            | Self::Unsupported => self,
            _ => Self::GeneralFailure,
        }
    }

    /// The reply field of a SOCKS5 answer (RFC 1928 §6).
    pub const fn socks5_reply(self) -> Reply {
        self.facts().socks5
    }

    /// The status of an HTTP answer.
    pub const fn http_status(self) -> u16 {
        self.facts().http_status
    }

    /// The `error` token of `Proxy-Status` (RFC 9209 §2.3).
    pub const fn proxy_status_error(self) -> &'static str {
        self.facts().proxy_status
    }

    /// The reason as a metrics label and as `X-Titan-Error`.
    pub const fn label(self) -> &'static str {
        self.facts().label
    }

    /// Whose doing it is.
    pub const fn side(self) -> Side {
        self.facts().side
    }

    /// Whether the same session may succeed on another edge.
    pub const fn retry_elsewhere(self) -> bool {
        matches!(self.facts().elsewhere, Elsewhere::Retry)
    }

    /// The reason in words for the proxy client; it names no target and no user.
    pub const fn describe(self) -> &'static str {
        self.facts().text
    }

    /// The reason for which connecting a socket to a target failed, or an established one broke.
    pub fn from_io(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Kind;
        match kind {
            Kind::ConnectionRefused => Self::ConnectionRefused,
            Kind::HostUnreachable => Self::HostUnreachable,
            // No address of the target's family on this machine is no route to its network.
            Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable => {
                Self::NetworkUnreachable
            }
            Kind::TimedOut => Self::TimedOut,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Self::TargetReset,
            // What a firewall rule on the edge's machine answers.
            Kind::PermissionDenied => Self::DeniedByPolicy,
            _ => Self::GeneralFailure,
        }
    }
}

impl From<&Socks5Error> for Reason {
    fn from(error: &Socks5Error) -> Self {
        match error {
            Socks5Error::Socks4 | Socks5Error::Command(_) => Self::Unsupported,
            Socks5Error::NoCommonMethod
            | Socks5Error::EmptyCredential
            | Socks5Error::CredentialNotUtf8 => Self::AuthenticationFailed,
            Socks5Error::Version(_)
            | Socks5Error::AuthVersion(_)
            | Socks5Error::RequestVersion(_)
            | Socks5Error::Target(_) => Self::BadRequest,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_survive_the_wire_and_unknown_ones_are_a_general_failure() {
        for (code, &reason) in (0..).zip(Reason::ALL) {
            assert_eq!(
                reason.code(),
                code,
                "codes are dense, so that the table shows a gap"
            );
            assert_eq!(Reason::from_code(code), reason);
        }
        assert_eq!(Reason::from_code(u8::MAX), Reason::GeneralFailure);
    }

    #[test]
    fn labels_are_distinct_snake_case() {
        let labels: HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        assert!(
            labels
                .iter()
                .all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }

    #[test]
    fn http_errors_are_errors_with_a_registered_token() {
        // RFC 9209 §2.3, those that a proxy without TLS to its next hop can have.
        let registered = [
            "connection_limit_reached",
            "connection_read_timeout",
            "connection_refused",
            "connection_terminated",
            "connection_timeout",
            "destination_ip_prohibited",
            "destination_ip_unroutable",
            "destination_unavailable",
            "dns_error",
            "dns_timeout",
            "http_protocol_error",
            "http_request_denied",
            "http_request_error",
            "proxy_internal_error",
        ];
        for reason in Reason::ALL {
            assert!((400..600).contains(&reason.http_status()), "{reason:?}");
            assert!(
                registered.contains(&reason.proxy_status_error()),
                "{reason:?}"
            );
            assert_ne!(reason.socks5_reply(), Reply::Succeeded, "{reason:?}");
        }
    }

    #[test]
    fn what_operators_rely_on() {
        for (reason, socks5, status, token) in [
            (Reason::ConnectionRefused, 5, 502, "connection_refused"),
            (Reason::NameNotFound, 4, 502, "dns_error"),
            (Reason::DeniedByPolicy, 2, 403, "destination_ip_prohibited"),
            (Reason::TimedOut, 4, 504, "connection_timeout"),
            (Reason::NoEdge, 1, 503, "destination_unavailable"),
            (Reason::EdgeGone, 3, 502, "connection_terminated"),
        ] {
            assert_eq!(reason.socks5_reply().code(), socks5, "{reason:?}");
            assert_eq!(reason.http_status(), status, "{reason:?}");
            assert_eq!(reason.proxy_status_error(), token, "{reason:?}");
        }
    }

    #[test]
    fn only_trouble_with_an_edge_is_worth_another_edge() {
        for reason in Reason::ALL.iter().filter(|reason| reason.retry_elsewhere()) {
            assert!(matches!(reason.side(), Side::Edge | Side::Us), "{reason:?}");
        }
    }
}
