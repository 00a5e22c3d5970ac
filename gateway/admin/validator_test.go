//go:build !race && !fuzzing

package admin

// The validator takes the compiler longer than all else that is tested, and each
// kind of build takes that time anew. So it is part of the plain one alone:
// .ci/check runs the tests of this package there too.

import (
	"io"
	"net/http"
	"testing"

	"github.com/pb33f/libopenapi"
	openapi "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/content"
	"github.com/pb33f/libopenapi-validator/errors"
)

// A validator holds calls to the OpenAPI document.
type validator struct{ openapi.Validator }

func newValidator(t *testing.T, document []byte) *validator {
	t.Helper()
	doc, err := libopenapi.NewDocument(document)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := openapi.NewValidator(doc, config.WithBodyDecoder(ndjson, content.DecoderFunc(func(in *content.DecodeInput) (any, error) {
		text, err := io.ReadAll(in.Body)
		return string(text), err // lines are no one JSON value
	})))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &validator{v}
}

// document checks the document itself.
func (v *validator) document(t *testing.T) {
	t.Helper()
	ok, errs := v.ValidateDocument()
	report(t, ok, errs)
}

// exchange checks a call and its answer; false means that t has failed.
func (v *validator) exchange(t *testing.T, r *http.Request, resp *http.Response) bool {
	t.Helper()
	ok, errs := v.ValidateHttpRequestResponse(r, resp)
	return report(t, ok, errs)
}

// answer is exchange without the request.
func (v *validator) answer(t *testing.T, r *http.Request, resp *http.Response) bool {
	t.Helper()
	ok, errs := v.ValidateHttpResponse(r, resp)
	return report(t, ok, errs)
}

func report(t *testing.T, ok bool, errs []*errors.ValidationError) bool {
	t.Helper()
	if !ok && len(errs) == 0 {
		t.Error("not valid")
	}
	for _, e := range errs {
		t.Errorf("%s: %s (%s)", e.ValidationType, e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			t.Errorf("   %s: %s", s.FieldPath, s.Reason)
		}
	}
	return ok
}
