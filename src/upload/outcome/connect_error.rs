//! What it means that there was no connection: whether it passes by itself, or
//! what an operator has to mend. Nothing had left this machine either way.
//!
//! A proxy that is down comes back. A certificate that nobody here trusts stays
//! as it is until somebody acts. Decides by the type of the error, never by its
//! text. No I/O.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// What an operator has to do about a connection that failed; `None` if it may
/// come about by itself.
pub fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error| cause(*error));
    causes.find_map(|cause| of_handshake(cause.downcast_ref::<TlsError>()?))
}

/// The cause of an error. What an I/O error wraps is its cause here; its own
/// `source` would pass that over.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn of_handshake(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::InvalidCertificate(why) => Some(of_certificate(why)),
        TlsError::PeerIncompatible(_) => Some("the server must speak TLS 1.2 or 1.3"),
        TlsError::InvalidMessage(_) => {
            Some("the server answers, but not in TLS: should upload.url begin with http://?")
        }
        // It may be overloaded, or on its way out.
        TlsError::AlertReceived(
            AlertDescription::InternalError
            | AlertDescription::UserCanceled
            | AlertDescription::CloseNotify,
        ) => None,
        TlsError::AlertReceived(_) => Some("the server turns us away: its own log says why"),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's authority is not trusted: name its certificate in upload.ca_file and start again"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "upload.url must call the server what its certificate calls it"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate must be renewed, or a clock be set right"
        }
        _ => "the server needs another certificate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the TLS library hands it over: inside two I/O errors.
    fn wrapped(error: TlsError) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_an_operators_and_says_what_to_do() {
        for (why, word) in [
            (CertificateError::UnknownIssuer, "upload.ca_file"),
            (CertificateError::NotValidForName, "upload.url"),
            (CertificateError::Expired, "renewed"),
            (CertificateError::NotValidYet, "clock"),
            (CertificateError::Revoked, "another certificate"),
        ] {
            let error = wrapped(TlsError::InvalidCertificate(why.clone()));
            let remedy = remedy(&error).unwrap_or_default();
            assert!(remedy.contains(word), "{why:?}: {remedy}");
        }
    }

    #[test]
    fn a_server_that_turns_us_away_is_an_operators_and_one_in_trouble_is_not() {
        let alert = |description| remedy(&wrapped(TlsError::AlertReceived(description)));
        assert!(alert(AlertDescription::HandshakeFailure).is_some());
        assert!(alert(AlertDescription::CertificateRequired).is_some());
        assert!(alert(AlertDescription::InternalError).is_none());
    }

    #[test]
    fn what_passes_by_itself_needs_nobody() {
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert_eq!(remedy(&io::Error::from(kind)), None, "{kind}");
            assert_eq!(remedy(&io::Error::new(kind, "UnknownIssuer")), None);
        }
    }
}
