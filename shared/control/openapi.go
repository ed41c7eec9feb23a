package control

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
)

// Prefix stands before every path: the number changes when a program that was written against the document would break.
const Prefix = "/v1"

const jsonType = "application/json"

// keyScheme is what the document calls the way to show a key.
const keyScheme = "key"

func newDocument() *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "Brickhouse", Version: strings.Trim(Prefix, "/v")},
		Servers: []*huma.Server{{URL: Prefix}},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
			SecuritySchemes: map[string]*huma.SecurityScheme{keyScheme: {
				Type: "http", Scheme: "bearer", Description: "A key that the program's key command has made.",
			}},
		},
	}
}

// schemaName is a type's name as the document has it.
func schemaName(t reflect.Type, hint string) string {
	name := []rune(huma.DefaultSchemaNamer(t, hint))
	name[0] = unicode.ToUpper(name[0])
	return string(name)
}

var pathValue = regexp.MustCompile(`\{(\w+)\}`)

// describe adds a route to the document, and returns the schema that its requests must have; nil: no body.
func (s *Server) describe(pattern string, op Operation, in, out reflect.Type) *huma.Schema {
	s.described.Lock()
	defer s.described.Unlock()
	method, path, _ := strings.Cut(pattern, " ")
	registry := s.doc.Components.Schemas
	doc := &huma.Operation{
		OperationID: op.ID, Summary: op.Summary, Method: method, Path: path,
		Responses: map[string]*huma.Response{"default": {
			Description: "What is wrong.",
			Content:     map[string]*huma.MediaType{problemType: {Schema: registry.Schema(reflect.TypeFor[Problem](), true, "")}},
		}},
	}
	if op.Area != "" {
		doc.Tags = []string{op.Area}
	}
	if op.Local {
		doc.Description = "Only on the Unix socket."
		doc.Security = []map[string][]string{}
	} else {
		doc.Security = []map[string][]string{{keyScheme: scopes(op, method)}}
	}
	for _, m := range pathValue.FindAllStringSubmatch(path, -1) {
		doc.Parameters = append(doc.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
	}
	for _, q := range op.Queries {
		doc.Parameters = append(doc.Parameters, &huma.Param{Name: q.Name, In: "query", Description: q.Doc, Required: q.Required, Schema: &huma.Schema{Type: "string"}})
	}
	none := reflect.TypeFor[None]()
	if out == none {
		doc.Responses["204"] = &huma.Response{Description: "Done."}
	} else {
		doc.Responses["200"] = &huma.Response{
			Description: "Done.", Content: map[string]*huma.MediaType{jsonType: {Schema: registry.Schema(out, true, op.ID+"Answer")}},
		}
	}
	var body *huma.Schema
	if in != none {
		body = registry.Schema(in, true, op.ID+"Request")
		doc.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: body}}}
	}
	s.doc.AddOperation(doc)
	s.operations[Pattern(pattern)] = op
	return body
}

// Pattern is a route's pattern with the prefix of all paths.
func Pattern(pattern string) string {
	method, path, _ := strings.Cut(pattern, " ")
	return method + " " + Prefix + path
}

// scopes are those that a key must have for a route.
func scopes(op Operation, method string) []string {
	switch {
	case op.Area == "":
		return []string{}
	case method == http.MethodGet:
		return []string{op.Area + ":read"}
	}
	return []string{op.Area + ":write"}
}

// Areas are those that the routes so far belong to and a key can be made for, in order.
func (s *Server) Areas() []string {
	s.described.RLock()
	defer s.described.RUnlock()
	seen := map[string]bool{}
	for _, op := range s.operations {
		if op.Area != "" && !op.Local {
			seen[op.Area] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// document answers with the OpenAPI document of all routes.
func (s *Server) document(w http.ResponseWriter, r *http.Request) {
	s.described.RLock()
	body, err := json.Marshal(s.doc)
	s.described.RUnlock()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, jsonType, body)
}
