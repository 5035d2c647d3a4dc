// Reads Parquet files with parquet-java, for open_with_tools.py:
//
//     java -cp 'target/tools/parquet-java/*' tests/spool/ReadRows.java FILE...
//
// Prints one line per file, `names` and the columns' names; then one per row, `row`
// and its values, separated by tabs: integers in decimal, bytes in hexadecimal
// after an x, - for a null.

import java.io.BufferedWriter;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HexFormat;
import org.apache.parquet.column.page.PageReadStore;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.example.data.simple.convert.GroupRecordConverter;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.io.ColumnIOFactory;
import org.apache.parquet.io.LocalInputFile;
import org.apache.parquet.io.RecordReader;
import org.apache.parquet.schema.LogicalTypeAnnotation.IntLogicalTypeAnnotation;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.Type;

public class ReadRows {
    public static void main(String[] files) throws Exception {
        var out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
        for (String file : files) {
            read(file, out);
        }
        out.flush();
    }

    static void read(String file, PrintWriter out) throws Exception {
        try (var reader = ParquetFileReader.open(new LocalInputFile(Path.of(file)))) {
            MessageType schema = reader.getFooter().getFileMetaData().getSchema();
            out.print("names");
            schema.getFields().forEach(field -> out.print("\t" + field.getName()));
            out.println();
            PageReadStore rowGroup;
            while ((rowGroup = reader.readNextRowGroup()) != null) {
                var columns = new ColumnIOFactory().getColumnIO(schema);
                RecordReader<Group> rows = columns.getRecordReader(rowGroup, new GroupRecordConverter(schema));
                for (long row = 0; row < rowGroup.getRowCount(); row++) {
                    Group values = rows.read();
                    out.print("row");
                    for (int place = 0; place < schema.getFieldCount(); place++) {
                        out.print("\t" + shown(values, place, schema.getType(place)));
                    }
                    out.println();
                }
            }
        }
    }

    static String shown(Group values, int place, Type type) {
        if (values.getFieldRepetitionCount(place) == 0) {
            return "-";
        }
        boolean isSigned = !(type.getLogicalTypeAnnotation() instanceof IntLogicalTypeAnnotation kind) || kind.isSigned();
        switch (type.asPrimitiveType().getPrimitiveTypeName()) {
            case INT32:
                int small = values.getInteger(place, 0);
                return isSigned ? Integer.toString(small) : Integer.toUnsignedString(small);
            case INT64:
                long large = values.getLong(place, 0);
                return isSigned ? Long.toString(large) : Long.toUnsignedString(large);
            case BINARY:
            case FIXED_LEN_BYTE_ARRAY:
                return "x" + HexFormat.of().formatHex(values.getBinary(place, 0).getBytes());
            default:
                throw new IllegalArgumentException("no spool file has a " + type);
        }
    }
}
