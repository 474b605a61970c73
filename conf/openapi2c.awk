# Makes the C source of sa_openapi_document of conf/openapi.json, without its indentation.
BEGIN {
    print "/* Made by conf/openapi2c.awk. */"
    print "#include \"httpd/openapi.h\"\n"
    print "static const char text[] ="
}
{
    sub(/^ +/, "")
    gsub(/\\/, "&&")
    gsub(/"/, "\\\"")
    printf "    \"%s\"\n", $0
}
END {
    print "    ;\n"
    printf "const sa_static_document_t sa_openapi_document = { text, sizeof(text) - 1, \"\\\"%s\\\"\" };\n", etag
}
