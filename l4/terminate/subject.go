package terminate

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// EmailSource says where the e-mail address of a subject is taken from. Servers
// use it as the identity of the client.
type EmailSource uint8

const (
	// EmailSubject is the e-mail address of the subject. A subject may have
	// none; several are an error.
	EmailSubject EmailSource = iota
	// EmailSeveral is all e-mail addresses of the subject, in their order.
	// Servers that expect one use the last.
	EmailSeveral
	// EmailSAN is like EmailSubject, but if the subject has no e-mail address,
	// the one of the subject alternative names is used.
	EmailSAN
)

// maxSubjectDN bounds a subject in slash form, in bytes. With a longer one,
// servers would refuse every request (nginx accepts 8 KiB for one header).
const maxSubjectDN = 4096

// SubjectDN returns the subject of a certificate in slash form, which OpenSSL
// calls oneline and nginx $ssl_client_s_dn_legacy:
//
//	/C=US/O=Example/CN=user/emailAddress=user@example.com
//
// Attributes, also those within a set, are in the order of the certificate,
// except that e-mail addresses are last. Names are the short names of OpenSSL,
// or dotted numbers. Bytes outside ASCII are \xNN, in UTF-8 unless the
// certificate uses T61. An empty subject is "".
//
// The form has no escapes, and servers split it at slashes and equals signs. A
// value with one of these or with a control character is therefore an error:
// the common name "x/emailAddress=admin@example.com" would be taken for another
// user. An e-mail address must also be ASCII, not empty, and without spaces,
// which are lost at the end of a header.
func (s EmailSource) SubjectDN(cert *x509.Certificate) (string, error) {
	var subject pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &subject); err != nil || len(rest) > 0 {
		return "", errors.New("malformed subject")
	}
	var dn strings.Builder
	var emails []string
	for _, set := range subject {
		for _, a := range set {
			value, ok := a.Value.(string) // true for every string type that crypto/x509 supports
			if !ok {
				return "", fmt.Errorf("attribute %s of the subject is not a string", a.Type)
			}
			if a.Type.Equal(oidEmailAddress) {
				emails = append(emails, value)
				continue
			}
			if err := appendAttribute(&dn, attributeName(a.Type), value); err != nil {
				return "", err
			}
		}
	}
	emails, err := s.choose(emails, cert.EmailAddresses)
	if err != nil {
		return "", err
	}
	return appendEmails(&dn, emails)
}

func (s EmailSource) choose(subject, alternative []string) ([]string, error) {
	if len(subject) > 1 && s != EmailSeveral {
		return nil, fmt.Errorf("subject has %d e-mail addresses", len(subject))
	}
	if len(subject) > 0 || s != EmailSAN {
		return subject, nil
	}
	if len(alternative) > 1 {
		return nil, fmt.Errorf("subject alternative names have %d e-mail addresses", len(alternative))
	}
	return alternative, nil
}

func appendEmails(dn *strings.Builder, emails []string) (string, error) {
	for _, e := range emails {
		if e == "" || strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", fmt.Errorf("e-mail address %q is empty, or has spaces or characters outside ASCII", e)
		}
		if err := appendAttribute(dn, "emailAddress", e); err != nil {
			return "", err
		}
	}
	if dn.Len() > maxSubjectDN {
		return "", fmt.Errorf("subject is longer than %d bytes", maxSubjectDN)
	}
	return dn.String(), nil
}

func appendAttribute(dn *strings.Builder, name, value string) error {
	dn.WriteByte('/')
	dn.WriteString(name)
	dn.WriteByte('=')
	for i := range len(value) {
		switch c := value[i]; {
		case c == '/' || c == '=' || c < ' ' || c == 0x7f:
			return fmt.Errorf("%s of the subject contains %q", name, c)
		case c > 0x7f:
			fmt.Fprintf(dn, `\x%02X`, c)
		default:
			dn.WriteByte(c)
		}
	}
	return nil
}

var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// attributeNames are the short names that OpenSSL 3.0 prints for attributes of
// subjects (openssl list -objects).
var attributeNames = map[string]string{
	"2.5.4.3":                    "CN",
	"2.5.4.4":                    "SN", // surname
	"2.5.4.5":                    "serialNumber",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "street",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"2.5.4.12":                   "title",
	"2.5.4.13":                   "description",
	"2.5.4.15":                   "businessCategory",
	"2.5.4.17":                   "postalCode",
	"2.5.4.41":                   "name",
	"2.5.4.42":                   "GN", // given name
	"2.5.4.43":                   "initials",
	"2.5.4.44":                   "generationQualifier",
	"2.5.4.46":                   "dnQualifier",
	"2.5.4.65":                   "pseudonym",
	"2.5.4.97":                   "organizationIdentifier",
	"0.9.2342.19200300.100.1.1":  "UID",
	"0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.2":       "unstructuredName",
}

func attributeName(oid asn1.ObjectIdentifier) string {
	number := oid.String()
	if name, ok := attributeNames[number]; ok {
		return name
	}
	return number
}

// HeaderPEM returns a certificate in PEM with spaces instead of line feeds, so
// that a header can hold it. It equals what net/http makes of the folded header
// that nginx sends.
func HeaderPEM(cert *x509.Certificate) string {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return strings.ReplaceAll(strings.TrimSuffix(string(text), "\n"), "\n", " ")
}
