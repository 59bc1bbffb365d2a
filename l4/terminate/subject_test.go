package terminate

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"culvert/l4/internal/program"
	"culvert/l4/terminate/mattermosttest"
)

// ASN.1 string types, X.680 section 8.4.
const (
	tagUTF8      = 12
	tagPrintable = 19
	tagT61       = 20
	tagIA5       = 22
	tagVisible   = 26
	tagUniversal = 28
	tagBMP       = 30
)

var (
	oidC     = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidST    = asn1.ObjectIdentifier{2, 5, 4, 8}
	oidL     = asn1.ObjectIdentifier{2, 5, 4, 7}
	oidO     = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOU    = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidCN    = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidDC    = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	oidEmail = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)

// A subjectPart is an attribute of a subject as it is in the certificate.
type subjectPart struct {
	oid   asn1.ObjectIdentifier
	tag   int
	value string
}

func utf8Part(oid asn1.ObjectIdentifier, value string) subjectPart {
	return subjectPart{oid, tagUTF8, value}
}
func emailPart(value string) subjectPart { return subjectPart{oidEmail, tagIA5, value} }

// A partSET is one relative name; because of the suffix SET, asn1.Marshal encodes
// it as a SET.
type partSET []rawPart

type rawPart struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// subjectOf encodes sets of attributes.
func subjectOf(t testing.TB, sets ...[]subjectPart) []byte {
	t.Helper()
	raw := []partSET{}
	for _, set := range sets {
		var r partSET
		for _, p := range set {
			r = append(r, rawPart{p.oid, asn1.RawValue{Tag: p.tag, Bytes: []byte(p.value)}})
		}
		raw = append(raw, r)
	}
	return marshalDER(t, raw)
}

// lineOf encodes attributes, each in its own set, as certificates have them.
func lineOf(t testing.TB, parts ...subjectPart) []byte {
	t.Helper()
	var sets [][]subjectPart
	for _, p := range parts {
		sets = append(sets, []subjectPart{p})
	}
	return subjectOf(t, sets...)
}

// emailsIn returns the e-mail addresses of a subject: those with ASCII in
// readable form, any other as it is encoded. It is independent of the code under
// test, to check it.
func emailsIn(der []byte) (emails []string, ok bool) {
	var sets []partSET
	if rest, err := asn1.Unmarshal(der, &sets); err != nil || len(rest) > 0 {
		return nil, false
	}
	for _, set := range sets {
		for _, p := range set {
			if !p.Type.Equal(oidEmail) {
				continue
			}
			value := string(p.Value.Bytes)
			if p.Value.Tag == tagBMP {
				value = strings.ReplaceAll(value, "\x00", "")
			}
			emails = append(emails, value)
		}
	}
	return emails, true
}

func TestSubjectDN(t *testing.T) {
	tests := []struct {
		name    string
		subject []byte
		want    string // "" means an error
	}{
		{"the documented sample", lineOf(t, subjectPart{oidC, tagPrintable, "US"}, utf8Part(oidST, "Maryland"), utf8Part(oidL, "Meade"), utf8Part(oidO, "Mattermost"), utf8Part(oidOU, "Smarttotem"), utf8Part(oidCN, "mmuser"), emailPart("mmuser@mattermost.com")),
			"/C=US/ST=Maryland/L=Meade/O=Mattermost/OU=Smarttotem/CN=mmuser/emailAddress=mmuser@mattermost.com"},
		{"e-mail first", lineOf(t, emailPart("a@b.c"), utf8Part(oidCN, "a"), subjectPart{oidC, tagPrintable, "US"}), "/CN=a/C=US/emailAddress=a@b.c"},
		{"e-mail in the middle", lineOf(t, utf8Part(oidO, "o"), emailPart("a@b.c"), utf8Part(oidCN, "a")), "/O=o/CN=a/emailAddress=a@b.c"},
		{"no e-mail", lineOf(t, utf8Part(oidCN, "a")), "/CN=a"},
		{"one set of two", subjectOf(t, []subjectPart{utf8Part(oidO, "o")}, []subjectPart{utf8Part(oidCN, "a"), emailPart("a@b.c")}), "/O=o/CN=a/emailAddress=a@b.c"},
		{"one name twice", lineOf(t, utf8Part(oidOU, "1"), utf8Part(oidOU, "2")), "/OU=1/OU=2"},
		{"other short names", lineOf(t, subjectPart{oidDC, tagIA5, "com"}, utf8Part(asn1.ObjectIdentifier{2, 5, 4, 5}, "7"), utf8Part(asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, "u")), "/DC=com/serialNumber=7/UID=u"},
		{"a type without a short name", lineOf(t, utf8Part(asn1.ObjectIdentifier{1, 2, 3, 4}, "x")), "/1.2.3.4=x"},
		{"spaces and commas", lineOf(t, utf8Part(oidO, " Example, Inc. ")), "/O= Example, Inc. "},
		{"UTF-8", lineOf(t, utf8Part(oidCN, "Jürgen")), `/CN=J\xC3\xBCrgen`},
		{"T61 beyond ASCII, taken for ISO 8859-1", lineOf(t, subjectPart{oidCN, tagT61, "J\xfcrgen"}), `/CN=J\xC3\xBCrgen`},
		{"T61", lineOf(t, subjectPart{oidCN, tagT61, "Juergen"}), "/CN=Juergen"},
		{"BMP", lineOf(t, subjectPart{oidCN, tagBMP, "\x00J\x00\xfc"}), `/CN=J\xC3\xBC`},
		{"BMP e-mail", lineOf(t, subjectPart{oidEmail, tagBMP, "\x00a\x00@\x00b"}), "/emailAddress=a@b"},
		{"UTF-8 e-mail in ASCII", lineOf(t, utf8Part(oidEmail, "a@b")), "/emailAddress=a@b"},
		{"empty value", lineOf(t, utf8Part(oidO, ""), emailPart("a@b")), "/O=/emailAddress=a@b"},
		{"backslash", lineOf(t, utf8Part(oidCN, `a\x2F`)), `/CN=a\x2F`},
		{"case of the address", lineOf(t, emailPart("A@B.C")), "/emailAddress=A@B.C"},

		{"injected e-mail", lineOf(t, utf8Part(oidCN, "x/emailAddress=admin@corp")), ""},
		{"injected e-mail beside a real one", lineOf(t, utf8Part(oidCN, "x/emailAddress=admin@corp"), emailPart("a@b")), ""},
		{"slash", lineOf(t, utf8Part(oidO, "A/S")), ""},
		{"equals sign", lineOf(t, utf8Part(oidO, "a=b")), ""},
		{"slash in the e-mail", lineOf(t, emailPart("a/b@c")), ""},
		{"equals sign in the e-mail", lineOf(t, emailPart("a=b@c")), ""},
		{"injected in the e-mail", lineOf(t, emailPart("a@b/emailAddress=admin@corp")), ""},
		{"slash in BMP", lineOf(t, subjectPart{oidCN, tagBMP, "\x00a\x00/\x00b"}), ""},
		{"slash in T61", lineOf(t, subjectPart{oidCN, tagT61, "a/b"}), ""},
		{"slash in a type without a short name", lineOf(t, utf8Part(asn1.ObjectIdentifier{1, 2, 3, 4}, "/emailAddress=a")), ""},
		{"line feed", lineOf(t, utf8Part(oidCN, "a\nX-Evil: 1")), ""},
		{"zero byte", lineOf(t, emailPart("admin@corp\x00.example")), ""},
		{"tab", lineOf(t, utf8Part(oidCN, "a\tb")), ""},
		{"delete", lineOf(t, utf8Part(oidCN, "a\x7fb")), ""},
		{"two e-mails", lineOf(t, emailPart("a@b"), emailPart("c@d")), ""},
		{"one e-mail twice", lineOf(t, emailPart("a@b"), emailPart("a@b")), ""},
		{"empty e-mail", lineOf(t, emailPart("")), ""},
		{"space after the e-mail", lineOf(t, emailPart("a@b ")), ""},
		{"space in the e-mail", lineOf(t, emailPart("a b@c")), ""},
		{"e-mail beyond ASCII", lineOf(t, utf8Part(oidEmail, "ä@b")), ""},
		{"too long", lineOf(t, utf8Part(oidCN, strings.Repeat("a", maxSubjectDN))), ""},
		{"not UTF-8", lineOf(t, utf8Part(oidCN, "\xff")), ""},
		{"VisibleString", lineOf(t, subjectPart{oidCN, tagVisible, "a"}), ""},
		{"UniversalString", lineOf(t, subjectPart{oidCN, tagUniversal, "\x00\x00\x00a"}), ""},
		{"half a BMP character", lineOf(t, subjectPart{oidCN, tagBMP, "\x00a\x00"}), ""},
		{"no text", lineOf(t, subjectPart{oidCN, 2, "\x01"}), ""},
		{"cut short", lineOf(t, utf8Part(oidCN, "a"))[:5], ""},
		{"trailing byte", append(lineOf(t, utf8Part(oidCN, "a")), 0), ""},
		{"nothing", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := EmailSubject.SubjectDN(&x509.Certificate{RawSubject: tt.subject})
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if err == nil {
				checkExtraction(t, tt.subject, got)
			}
		})
	}
}

// checkExtraction fails unless an upstream finds in header the one e-mail address
// of the subject, or none if it has none.
func checkExtraction(t *testing.T, subject []byte, header string) {
	t.Helper()
	emails, ok := emailsIn(subject)
	if !ok || len(emails) > 1 {
		t.Fatalf("the subject has the e-mails %q (readable: %v), yet the header is %q", emails, ok, header)
	}
	if got, want := mattermosttest.CertificateEmail(header), strings.Join(emails, ""); got != want {
		t.Errorf("the upstream finds %q in %q, want %q", got, header, want)
	}
}

func TestSubjectEmpty(t *testing.T) {
	got, err := EmailSubject.SubjectDN(&x509.Certificate{RawSubject: lineOf(t)})
	if got != "" || err != nil {
		t.Errorf("got %q, %v, want nothing", got, err)
	}
}

// In the forms of a subject that other programs produce, the upstream finds no
// e-mail address. That is why SubjectDN has a form of its own.
func TestSubjectFormsOfOtherPrograms(t *testing.T) {
	raw := lineOf(t, subjectPart{oidC, tagPrintable, "US"}, utf8Part(oidCN, "mmuser"), emailPart("mmuser@mattermost.com"))
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(raw, &rdns); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, header, want string }{
		{"nginx since 1.11.6", "emailAddress=mmuser@mattermost.com,CN=mmuser,C=US", ""},
		{"crypto/x509", rdns.String(), ""},
		{"capital", "/C=US/CN=mmuser/EmailAddress=mmuser@mattermost.com", ""},
		{"nginx before 1.11.6", "/C=US/CN=mmuser/emailAddress=mmuser@mattermost.com", "mmuser@mattermost.com"},
		{"the server's own tests", "C=US, CN=mmuser/emailAddress=mmuser@mattermost.com", "mmuser@mattermost.com"},
	}
	for _, tt := range tests {
		if got := mattermosttest.CertificateEmail(tt.header); got != tt.want {
			t.Errorf("%s: got %q from %q, want %q", tt.name, got, tt.header, tt.want)
		}
	}
}

func TestSubjectEmailSource(t *testing.T) {
	none, one, two := lineOf(t, utf8Part(oidCN, "x")), lineOf(t, emailPart("s@b"), utf8Part(oidCN, "x")), lineOf(t, emailPart("s@b"), utf8Part(oidCN, "x"), emailPart("t@b"))
	tests := []struct {
		name    string
		source  EmailSource
		subject []byte
		san     []string
		want    string // "" means an error
	}{
		{"subject, none", EmailSubject, none, []string{"n@b"}, "/CN=x"},
		{"subject, one", EmailSubject, one, []string{"n@b"}, "/CN=x/emailAddress=s@b"},
		{"subject, two", EmailSubject, two, nil, ""},
		{"several, none", EmailSeveral, none, []string{"n@b"}, "/CN=x"},
		{"several, one", EmailSeveral, one, nil, "/CN=x/emailAddress=s@b"},
		{"several, two", EmailSeveral, two, nil, "/CN=x/emailAddress=s@b/emailAddress=t@b"},
		{"several, one injects", EmailSeveral, lineOf(t, emailPart("s@b"), emailPart("t/b")), nil, ""},
		{"SAN, none in either", EmailSAN, none, nil, "/CN=x"},
		{"SAN, in either", EmailSAN, one, []string{"n@b"}, "/CN=x/emailAddress=s@b"},
		{"SAN, one", EmailSAN, none, []string{"n@b"}, "/CN=x/emailAddress=n@b"},
		{"SAN, two", EmailSAN, none, []string{"n@b", "m@b"}, ""},
		{"SAN, two in the subject", EmailSAN, two, []string{"n@b"}, ""},
		{"SAN, injects", EmailSAN, none, []string{"n@b/emailAddress=a@b"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source.SubjectDN(&x509.Certificate{RawSubject: tt.subject, EmailAddresses: tt.san})
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// OpenSSL prints the form that nginx sends, but does not check for separators in
// values and does not move e-mail addresses to the end.
func TestSubjectAsOpenSSLPrintsIt(t *testing.T) {
	program.Need(t, "openssl")
	root := newRoot(t, "root")
	for _, subject := range [][]byte{
		lineOf(t, subjectPart{oidC, tagPrintable, "US"}, utf8Part(oidST, "Maryland"), utf8Part(oidL, "Meade"), utf8Part(oidO, "Mattermost, Inc."), utf8Part(oidOU, "Smarttotem"), utf8Part(oidCN, "mmuser"), emailPart("mmuser@mattermost.com")),
		lineOf(t, subjectPart{oidDC, tagIA5, "com"}, subjectPart{oidDC, tagIA5, "example"}, utf8Part(oidCN, "Jürgen")),
		everyName(t),
		lineOf(t, utf8Part(asn1.ObjectIdentifier{1, 2, 3, 4}, "x"), emailPart("a@b")),
	} {
		cert := root.newClient(t, "", withSubject(subject))
		cmd := exec.Command("openssl", "x509", "-noout", "-subject", "-nameopt", "compat")
		cmd.Stdin = strings.NewReader(string(pemOf(cert)))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(strings.TrimPrefix(string(out), "subject="), "\n")
		if got, err := EmailSubject.SubjectDN(cert.Certificate); got != want || err != nil {
			t.Errorf("got %q, %v, openssl prints %q", got, err, want)
		}
	}
}

// everyName returns a subject with every attribute that has a short name.
func everyName(t *testing.T) []byte {
	var parts []subjectPart
	for number := range attributeNames {
		var oid asn1.ObjectIdentifier
		for piece := range strings.SplitSeq(number, ".") {
			n := 0
			for _, c := range piece {
				n = 10*n + int(c-'0')
			}
			oid = append(oid, n)
		}
		parts = append(parts, utf8Part(oid, "XY"))
	}
	return lineOf(t, parts...)
}

func TestHeaderPEM(t *testing.T) {
	cert := newRoot(t, "root")
	got := HeaderPEM(cert.Certificate)
	if strings.ContainsAny(got, "\r\n\t") || strings.TrimSpace(got) != got {
		t.Errorf("got %q, want one line without space around it", got)
	}
	if want := strings.TrimSuffix(strings.ReplaceAll(string(pemOf(cert)), "\n", " "), " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !slices.Equal(fromHeaderPEM(t, got), cert.Raw) {
		t.Error("the header does not contain the certificate")
	}
}

// fromHeaderPEM returns the certificate in a header, in DER.
func fromHeaderPEM(t *testing.T, header string) []byte {
	t.Helper()
	text := strings.ReplaceAll(header, " ", "\n")
	text = strings.NewReplacer("BEGIN\nCERTIFICATE", "BEGIN CERTIFICATE", "END\nCERTIFICATE", "END CERTIFICATE").Replace(text)
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM in the header %q", header)
	}
	return block.Bytes
}

// FuzzSubjectDN checks that an upstream never finds an e-mail address other than
// the only one of the subject, and that every header can be sent.
func FuzzSubjectDN(f *testing.F) {
	for _, parts := range [][]subjectPart{
		{},
		{utf8Part(oidCN, "x/emailAddress=admin@corp"), emailPart("a@b")},
		{subjectPart{oidC, tagPrintable, "US"}, utf8Part(oidCN, "mmuser"), emailPart("mmuser@mattermost.com")},
		{subjectPart{oidEmail, tagBMP, "\x00a\x00@\x00b"}},
		{subjectPart{oidEmail, tagT61, "a@\xe4"}},
		{subjectPart{oidEmail, tagPrintable, "a"}, subjectPart{oidCN, 2, "\x01"}},
		{emailPart("a@b"), emailPart("c@d")},
		{emailPart("a@b "), utf8Part(oidCN, "ü")},
	} {
		f.Add(lineOf(f, parts...))
	}
	f.Fuzz(func(t *testing.T, subject []byte) {
		header, err := EmailSubject.SubjectDN(&x509.Certificate{RawSubject: subject})
		if err != nil {
			return
		}
		checkExtraction(t, subject, header)
		if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) || len(header) > maxSubjectDN {
			t.Errorf("a header cannot hold %q", header)
		}
	})
}
